"""Comparison of an order's records everywhere: lines, amounts, currencies, customers, recipients. Pure decisions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from chassis.currency import places_of
from shop.audit.findings import Finding, different, lost, undecided, waiting
from shop.audit.records import Circumstances, Item, Order, Payment, SalesOrder, Traces

PLACED, CONFIRMED, PAID, SHIPPED = "order.placed", "order.confirmed", "order.paid", "order.shipped"
REJECTED, CANCELLED, DELIVERED = "order.rejected", "order.cancelled", "order.delivered"
DELAYED, REFUND_DUE = "order.delayed", "order.refund_due"
# status -> the histories that lead there; the first step may be delayed, and after an end any number of refunds be due
HISTORIES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "pending": ((PLACED,),),
    "confirmed": ((PLACED, CONFIRMED),),
    "paid": ((PLACED, CONFIRMED, PAID),),
    "shipped": ((PLACED, CONFIRMED, PAID, SHIPPED), (PLACED, CONFIRMED, PAID, SHIPPED, DELIVERED)),
    "rejected": ((PLACED, REJECTED), (PLACED, CONFIRMED, REJECTED)),
    "cancelled": ((PLACED, CANCELLED), (PLACED, CONFIRMED, CANCELLED)),
}
# event type -> its facts of the order beside the owner
_EVENT_FACTS: Mapping[str, Sequence[str]] = {
    PLACED: ("items", "total", "currency"),
    CONFIRMED: ("total", "currency", "payment_id"),
    PAID: ("payment_id",),
    REJECTED: ("reason",),
    CANCELLED: ("reason",),
}
# order status -> the states that its reservation, its sales order and its payment may have
_RESERVED = {"confirmed": ("held",), "paid": ("held", "shipped"), "shipped": ("shipped",)}
_REGISTERED = {"confirmed": ("open",), "paid": ("open", "shipped"), "shipped": ("shipped",)}
_COLLECTED = {"paid": ("succeeded",), "shipped": ("succeeded",)}


def of_order(order: Order) -> Iterator[Finding]:
    """The order against itself: its total, its history, and its events' data."""
    worth = sum((item.quantity * item.unit_price for item in order.items), Decimal())
    if worth != order.total:
        yield different(f"its total is {order.total} {order.currency}, but its lines come to {worth}")
    sequences = [event.sequence for event in order.history]
    if sequences != list(range(1, len(sequences) + 1)):
        yield different(f"its history has gaps or doubles: {sequences}")
    types = tuple(event.type for event in order.history)
    if _steps(order.status, types) not in HISTORIES.get(order.status, ()):
        yield different(f"it is {order.status}, but its history is {', '.join(types) or 'empty'}")
    facts = {
        "order_id": order.id,
        "user_id": order.user_id,
        "items": _listed(order.items),
        "total": _number(order.total),
        "currency": order.currency,
        "payment_id": order.payment_id,
        "reason": order.status_reason,
    }
    for event in order.history:
        for name in ("order_id", "user_id", *_EVENT_FACTS.get(event.type, ())):
            recorded = _normalized(name, event.data.get(name, ""))
            if recorded != facts[name]:
                yield different(f"{event.type} has the {name} {recorded!r}, the order has {facts[name]!r}")


def _steps(status: str, types: tuple[str, ...]) -> tuple[str, ...]:
    """A history without what happens beside the steps that lead to a status."""
    while status in ("rejected", "cancelled") and types and types[-1] == REFUND_DUE:
        types = types[:-1]
    return (types[0], *types[2:]) if types[1:2] == (DELAYED,) else types


def _normalized(name: str, value: object) -> str:
    """A field of an event, written as the order's own."""
    try:
        if name == "total":
            return _number(Decimal(str(value)))
        if name == "items" and isinstance(value, list):
            return _listed([Item(each["product_id"], each["quantity"], Decimal(each["unit_price"])) for each in value])
    except (ArithmeticError, KeyError, TypeError):
        return str(value)  # it is not in the contract's form, and so differs from every order
    return str(value)


def _number(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _listed(items: Sequence[Item]) -> str:
    return ", ".join(f"{item.quantity} x {item.product_id} at {_number(item.unit_price)}" for item in items)


def of_reservation(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """Inventory's reservation: one, of the same pieces, in a state that fits the order's."""
    if "inventory" in around.unread:
        yield undecided("inventory could not be read")
        return
    if len(traces.reservations) > 1:
        yield different(f"inventory has {len(traces.reservations)} reservations")
    expected: Counter[str] = Counter()
    for item in order.items:
        expected[item.product_id] += item.quantity
    wanted = _RESERVED.get(order.status)
    if wanted and not traces.reservations:
        yield lost("inventory has no reservation")
    for reservation in traces.reservations:
        if wanted and reservation.state not in wanted:
            yield different(f"its reservation is {reservation.state}, the order is {order.status}")
        # One that was released before anything had been reserved is empty.
        if dict(reservation.lines) != expected and (reservation.lines or reservation.state != "released"):
            yield different(f"its reservation is of {dict(reservation.lines)}, not of {dict(expected)}")


def of_sales_order(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """The ERP's sales order: one, of the same customer, currency and lines, with the shipment of order.shipped."""
    if "erp" in around.unread:
        yield undecided("the ERP could not be read")
        return
    if len(traces.sales_orders) > 1:
        yield different(f"the ERP has {len(traces.sales_orders)} sales orders")
    wanted = _REGISTERED.get(order.status)
    if wanted and not traces.sales_orders:
        yield lost("the ERP has no sales order")
    for sale in traces.sales_orders:
        if wanted and sale.state not in wanted:
            yield different(f"the ERP's sales order is {sale.state}, the order is {order.status}")
        # One that was cancelled before it was registered has no more than that.
        if sale.state != "cancelled" or sale.items or sale.customer_id or sale.currency:
            yield from _of_sale(order, sale)
        recorded = [str(event.data.get("shipment_number", "")) for event in order.history if event.type == SHIPPED]
        if order.status == "shipped" and list(sale.shipments) != recorded:
            finding = different if sale.shipments else lost
            yield finding(f"the ERP has the shipments {list(sale.shipments)}, order.shipped has {recorded}")


def _of_sale(order: Order, sale: SalesOrder) -> Iterator[Finding]:
    if _listed(sale.items) != _listed(order.items):
        yield different(f"the ERP has the lines {_listed(sale.items)}, the order {_listed(order.items)}")
    if sale.customer_id != order.user_id:
        yield different(f"the ERP has the customer {sale.customer_id}, the order {order.user_id}")
    if sale.currency != order.currency:
        yield different(f"the ERP has the currency {sale.currency}, the order {order.currency}")


def of_payments(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """The provider's payment: one, the one that the order names, of its amount and currency, collected once paid."""
    if "payments" in around.unread:
        yield undecided("the payment provider could not be read")
        return
    if not order.total and traces.payments:
        yield different(f"the order has nothing to pay, and the payment provider has {_ids(traces.payments)}")
    if not order.total:
        return
    if len(traces.payments) > 1:
        yield different(f"the payment provider has {len(traces.payments)} payments: {_ids(traces.payments)}")
    wanted = _COLLECTED.get(order.status)
    if wanted and not traces.payments:
        yield lost(f"the payment provider has no payment {order.payment_id}")
    expected = _minor_units(order.total, order.currency)
    for payment in traces.payments:
        if order.payment_id and payment.id != order.payment_id:
            yield different(f"payment {payment.id} is not {order.payment_id}, which the order names")
        if payment.amount != expected or payment.currency != order.currency.lower():
            paid = f"{payment.amount} minor units of {payment.currency}"
            yield different(f"payment {payment.id} is of {paid}, the order of {order.total} {order.currency}")
        if wanted and (payment.status not in wanted or payment.refunded):
            given_back = f", {payment.refunded} given back" if payment.refunded else ""
            yield different(f"payment {payment.id} is {payment.status}{given_back}, the order is {order.status}")


def of_refunds_due(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """Refunds that the order calls for: payments that the provider has."""
    known = {payment.id for payment in traces.payments}
    due = [str(event.data.get("payment_id", "")) for event in order.history if event.type == REFUND_DUE]
    for payment_id in due:
        if payment_id not in known and "payments" not in around.unread:
            yield different(f"{REFUND_DUE} has the payment_id {payment_id!r}, which the payment provider does not have")


def of_refunds(traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """Check the refunds made: those of the order's payments, in their currency and of the amount these record.

    Of a provider that could not be read to its end some payments or refunds may be missing: `of_payments` reports it.
    """
    if "payments" in around.unread:
        return
    payments = {payment.id: payment for payment in traces.payments}
    given_back: Counter[str] = Counter()
    for refund in traces.refunds:
        given_back[refund.payment_id] += refund.amount
        payment = payments.get(refund.payment_id)
        if payment is None:
            yield different(f"refund {refund.id} is of payment {refund.payment_id}, which the order does not have")
        elif refund.currency != payment.currency:
            yield different(f"refund {refund.id} is in {refund.currency}, payment {payment.id} in {payment.currency}")
    for payment in traces.payments:
        given = given_back[payment.id]
        if given != payment.refunded:
            yield different(f"payment {payment.id} has {payment.refunded} given back, its refunds come to {given}")
        if (payment.status == "refunded") != (0 < payment.amount <= payment.refunded):
            yield different(
                f"payment {payment.id} of {payment.amount} is {payment.status}, {payment.refunded} given back"
            )


def of_letters(order: Order, traces: Traces) -> Iterator[Finding]:
    """Its dead letters: each of an event of its history, of whose type it is and whose payload it has."""
    events = {event.id: event for event in order.history}
    for (queue, id_), count in Counter((letter.queue, letter.id) for letter in traces.letters).items():
        if count > 1:  # an event that was published twice may fail twice
            yield waiting(f"dead letter {id_} is in {queue} {count} times")
    for letter in traces.letters:
        if letter.subject != order.id:
            continue  # of one of its webhooks
        event = events.get(letter.id)
        name = f"dead letter {letter.id} ({letter.type}) in {letter.queue}"
        if event is None:
            yield different(f"{name} belongs to none of its events")
        elif letter.type != event.type:
            yield different(f"{name} is of the event {event.type}")
        elif letter.data != event.data:
            yield different(f"{name} has {_json(letter.data)}, its event {_json(event.data)}")


def _json(facts: Mapping[str, object] | None) -> str:
    return "no JSON object" if facts is None else json.dumps(facts, sort_keys=True, default=str)


def _ids(payments: Sequence[Payment]) -> str:
    return ", ".join(payment.id for payment in payments)


def of_webhooks(order: Order, traces: Traces, around: Circumstances) -> Iterator[Finding]:
    """The content of the provider's webhooks: of this payment, amount and currency, each kind of news once."""
    if "webhooks" in around.unread:
        yield undecided("the webhook store could not be read")
        return
    expected = _minor_units(order.total, order.currency)
    for received in traces.webhooks:
        if order.payment_id and received.payment_id != order.payment_id:
            yield different(f"webhook {received.id} is about payment {received.payment_id}, not {order.payment_id}")
        if received.amount != expected or received.currency != order.currency.lower():
            recorded = f"{received.amount} minor units of {received.currency}"
            yield different(f"webhook {received.id} has {recorded}, the order has {order.total} {order.currency}")
    for kind, count in Counter(received.type for received in traces.webhooks).items():
        if count > 1:
            yield different(f"the webhook store has {count} webhooks {kind}")
    collected = [event for event in order.history if event.type == PAID]
    if (
        order.total
        and collected
        and not any(received.type == "payment_intent.succeeded" for received in traces.webhooks)
    ):
        since = around.webhooks_complete_since
        if since is None or collected[0].time >= since:
            yield lost("it is paid, but the webhook store has no payment_intent.succeeded")


def _minor_units(amount: Decimal, currency: str) -> Decimal:
    """12.50 EUR -> 1250; with a fraction where the currency has no such coin."""
    return amount.scaleb(places_of(currency))
