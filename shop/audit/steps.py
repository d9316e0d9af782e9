"""The next step of an order in flight: a message, a webhook, a payment, or none. Pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.audit.findings import Finding, State, in_flight, lost, undecided, waiting
from shop.audit.records import Circumstances, Letter, Message, Order, PaymentEvent, Traces, Webhook

_WEBHOOK_QUEUE = "webhook-processing"
# A worker that was still processing the order when it ended undoes it, too.
_UNDOING_QUEUES = ("order-compensation", "order-processing")
_COLLECTED, _FAILED, _COLLECTING = "succeeded", "failed", "processing"
_NEWS = "payment_intent.succeeded"
# A consumer settles a delivery within its timeout of 60 s, or delays it by at most 132 s; until then RabbitMQ may
# show nothing of it.
_MAX_HELD = timedelta(seconds=200)
# RabbitMQ's own counts are that old at most.
_COUNTED_LATE = timedelta(seconds=30)


def dead(letter: Letter) -> Finding:
    """A dead letter, by its name and the command that moves it."""
    command = f"shop dead-letters replay {letter.id} --queue {letter.queue}"
    return waiting(f"dead letter {letter.id} ({letter.type}) in {letter.queue}: {letter.reason}; {command}")


def queued(queues: Sequence[str], subject: str, since: datetime, traces: Traces, around: Circumstances) -> Finding:
    """Finding of a step that an event in one of `queues` takes; `since`: when that event happened."""
    letters = [each for each in traces.letters if each.queue in queues and each.subject == subject]
    if letters:
        return dead(letters[0])
    messages = [each for each in traces.messages if each.queue in queues and each.subject == subject]
    if messages:
        return in_flight(_named(messages[0]))
    if "broker" in around.unread:
        return undecided(f"{queues[0]} could not be read")
    inexact = {name: queue for name, queue in around.queues.items() if name in queues and not queue.exact}
    visible = {name: queue.visible for name, queue in inexact.items() if queue.visible}
    if visible:
        name, count = next(iter(visible.items()))
        return in_flight(f"one of {count} messages in {name}")
    uncounted = [name for name, queue in inexact.items() if not queue.counted]
    if inexact and around.now - since <= (_MAX_HELD if uncounted else _COUNTED_LATE):
        return in_flight(f"a consumer of {next(iter(inexact))} holds its message of {since:%F %T}")
    if uncounted:
        return undecided(f"{uncounted[0]} is empty, but AMQP does not show what a consumer may hold for a retry")
    return lost(f"no message in {' or '.join(queues)}")


def payment(order: Order, traces: Traces, around: Circumstances) -> Finding:
    """The step that makes a confirmed order paid or rejected."""
    if "payments" in around.unread:
        return undecided("the payment provider could not be read")
    payments = [each for each in traces.payments if each.id == order.payment_id]
    if not payments:
        return lost(f"the payment provider has no payment {order.payment_id or 'at all'}")
    status = payments[0].status
    if status == _COLLECTING:
        return in_flight(f"payment {order.payment_id}: the provider is collecting it")
    undelivered = [each for each in traces.payment_events if each.type.startswith("payment_intent.")]
    if undelivered:
        return in_flight(_undelivered(undelivered[0]))
    if "webhooks" in around.unread:
        return undecided("the webhook store could not be read")
    pending = [each for each in traces.webhooks if each.status != "processed"]
    if pending:
        return webhook(pending[0], traces, around)
    if status not in (_COLLECTED, _FAILED):
        return lost(f"payment {order.payment_id} is {status}")
    known = ", ".join(f"{each.type} was {each.outcome}" for each in traces.webhooks)
    return lost(f"payment {order.payment_id} has {status}, and {known or 'its webhook is not in the store'}")


def undoing(order: Order, since: datetime, traces: Traces, around: Circumstances) -> Finding:
    """Compensation of an order that has ended: by its own event, or news of money that was collected too late."""
    found = queued(_UNDOING_QUEUES, order.id, since, traces, around)
    if found.state not in (State.LOST, State.OPEN):
        return found
    collecting = [each for each in traces.payments if each.status == _COLLECTING]
    if collecting:
        return in_flight(f"payment {collecting[0].id}: the provider is collecting it, its webhook refunds it")
    undelivered = [each for each in traces.payment_events if each.type == _NEWS]
    if undelivered:
        return in_flight(_undelivered(undelivered[0]))
    pending = [each for each in traces.webhooks if each.type == _NEWS and each.status != "processed"]
    if pending:
        return webhook(pending[0], traces, around)
    if "payments" in around.unread:
        return undecided("the payment provider could not be read")
    return undecided("the webhook store could not be read") if "webhooks" in around.unread else found


def webhook(received: Webhook, traces: Traces, around: Circumstances) -> Finding:
    """The step that processes a pending webhook."""
    name = f"webhook {received.id} ({received.provider} {received.type})"
    if not received.published:
        return in_flight(f"{name}: webhook_worker publishes its webhook.received")
    found = queued((_WEBHOOK_QUEUE,), received.id, received.received_at, traces, around)
    why = f" after {received.error}" if received.error else ""
    return Finding(found.state, f"{name} is {received.status}{why}: {found.what}")


def _undelivered(news: PaymentEvent) -> str:
    return f"{news.type} {news.id}: the provider delivers it (failed attempts: {news.attempts})"


def _named(message: Message) -> str:
    when = f", again at {message.until:%F %T}" if message.until else ""
    return f"{message.type} in {message.queue} (attempt {message.attempt}{when})"
