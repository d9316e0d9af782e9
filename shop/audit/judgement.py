"""The verdict on one order: settled, in flight, waiting for a person, different, or lost. Pure decisions."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from shop.audit import comparison, steps
from shop.audit.findings import RANK, Finding, State, different, in_flight, undecided
from shop.audit.records import Circumstances, Mail, Order, PastEvent, Traces

_MAILED = (comparison.CONFIRMED, comparison.DELAYED, comparison.REJECTED, comparison.SHIPPED)
_TAKEN = ("processing", "succeeded")


def judge(order: Order, traces: Traces, around: Circumstances) -> list[Finding]:
    """All findings on an order, the worst first; none when it is settled."""
    found = [
        *comparison.of_order(order),
        *comparison.of_reservation(order, traces, around),
        *comparison.of_sales_order(order, traces, around),
        *comparison.of_payments(order, traces, around),
        *comparison.of_refunds(traces, around),
        *comparison.of_refunds_due(order, traces, around),
        *comparison.of_webhooks(order, traces, around),
        *comparison.of_letters(order, traces),
        *_next_step(order, traces, around),
        *_mails(order, traces, around),
        *_unprocessed(traces, around),
        *(steps.dead(letter) for letter in traces.letters),
    ]
    if traces.email is None and "users" not in around.unread:
        found.append(different(f"there is no account of its customer {order.user_id}"))
    # Two of them may name one dead letter or one book that could not be read.
    return sorted(dict.fromkeys(found), key=lambda finding: -RANK[finding.state])


def stranger(traces: Traces, around: Circumstances, *, demo: bool = False) -> list[Finding]:
    """Findings for records of an order that the orders service does not have, or has as demo data only."""
    holders = {
        "inventory": traces.reservations,
        "the ERP": traces.sales_orders,
        "the payment provider": [*traces.payments, *traces.refunds],
        "the mail server": traces.mails,
    }
    names = [name for name, records in holders.items() if records]
    # A webhook about an order that was never placed is refused and dead-lettered; one that was applied is a trace.
    if not demo:
        names += ["the webhook store" for each in traces.webhooks[:1] if each.order_id and each.outcome == "applied"]
    found = (
        [different(f"the orders service has no such order, but {', '.join(names)} has it on record")] if names else []
    )
    return [*found, *_unprocessed(traces, around), *(steps.dead(letter) for letter in traces.letters)]


def _unprocessed(traces: Traces, around: Circumstances) -> Iterator[Finding]:
    for received in traces.webhooks:
        if received.status != "processed":
            yield steps.webhook(received, traces, around)


def _next_step(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """The next step of an order that has not ended, or the compensation of one that has."""
    if order.unpublished:
        types = ", ".join(event.type for event in order.history[-order.unpublished :])
        yield in_flight(f"{types} in the outbox of orders: its relay publishes it")
        return
    match order.status:
        case "confirmed" if not order.total:  # nothing to pay: the saga itself marks it as paid
            yield _after(order, steps.queued(("order-processing",), order.id, _since(order), traces, around))
        case "pending":
            yield _after(order, steps.queued(("order-processing",), order.id, _since(order), traces, around))
        case "confirmed":
            yield _after(order, steps.payment(order, traces, around))
        case "paid":
            yield _after(order, steps.queued(("order-fulfilment",), order.id, _since(order), traces, around))
        case "rejected" | "cancelled":
            left = list(_not_undone(traces))
            if left:
                found = steps.undoing(order, _since(order), traces, around)
                yield _after(order, Finding(found.state, f"{'; '.join(left)}: {found.what}"))


def _not_undone(traces: Traces) -> Iterator[str]:
    for reservation in traces.reservations:
        if reservation.state != "released":
            yield f"its reservation is {reservation.state}"
    for sale in traces.sales_orders:
        if sale.state != "cancelled" or sale.shipments:
            yield f"the ERP's sales order is {sale.state}, with {len(sale.shipments)} shipments"
    for payment in traces.payments:
        if payment.status in _TAKEN and payment.refunded < payment.amount:
            yield f"payment {payment.id} is {payment.status}, with {payment.refunded} of {payment.amount} given back"


def _after(order: Order, finding: Finding) -> Finding:
    """The finding, with the last step on record where nothing will follow it."""
    if finding.state not in (State.LOST, State.OPEN) or not order.history:
        return finding
    last = order.history[-1]
    return Finding(finding.state, f"it is {order.status} since {last.type} of {last.time:%F %T}, and {finding.what}")


def _mails(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """One mail for each event with a mail, to the customer, and no other."""
    if "mails" in around.unread:
        yield undecided("the mail server could not be read")
        return
    expected = {f"{event.id}@shop.test": event for event in order.history if event.type in _MAILED}
    received = Counter(mail.message_id for mail in traces.mails)
    for message_id, count in received.items():
        if count > 1:
            yield different(f"the mail server has mail {message_id} {count} times")
    for mail in traces.mails:
        event = expected.get(mail.message_id)
        if event is None:
            yield different(f"mail {mail.message_id} ({mail.kind}) belongs to none of its events")
        else:
            yield from _of_mail(mail, event, traces, around)
    published = len(order.history) - order.unpublished
    for message_id, event in expected.items():
        if message_id not in received and event.sequence <= published:
            yield _missing_mail(order, event, traces, around)


def _of_mail(mail: Mail, event: PastEvent, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    if f"order.{mail.kind}" != event.type:
        yield different(f"mail {mail.message_id} is of the kind {mail.kind}, but its event is {event.type}")
    if "users" in around.unread:
        yield undecided("the users service could not be read, so recipients were not compared")
    elif traces.email is not None:
        # A mail of before recipients were kept has none.
        for address in dict.fromkeys((mail.to, *mail.recipients)):
            if _address(address) != _address(traces.email):
                name = f"mail {mail.message_id} ({mail.kind})"
                yield different(f"{name} went to {address}, the customer is {traces.email}")


def _missing_mail(order: Order, event: PastEvent, traces: Traces, around: Circumstances) -> Finding:
    kind = event.type.removeprefix("order.")
    forgotten = around.mails_forgotten_until
    if forgotten is not None and event.time <= forgotten:
        return undecided(f"its mail {kind} was deleted by the mail server, or was never there")
    found = steps.queued(("order-mail",), order.id, event.time, traces, around)
    return Finding(found.state, f"no mail {kind} of {event.time:%F %T}: {found.what}")


def _address(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _since(order: Order) -> datetime:
    return order.history[-1].time if order.history else order.placed_at
