"""`shop audit` asks whether every book tells the same story.

For each accepted order exactly one reservation, one ERP order, one payment, at most one shipment, one mail of each
kind, a history without gaps; for each that ended otherwise nothing that was not undone; no trace anywhere of an order
that was never accepted; and all stock that ever came in is there, promised, or gone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from shop.books import Books, OrderBook, Settings, read

_IN_FLIGHT = ("pending", "confirmed", "paid")
_MONEY_TAKEN = "succeeded"
# status -> the history that leads there, once an order has ended
_HISTORIES = {
    "shipped": (
        ("order.placed", "order.confirmed", "order.paid", "order.shipped"),
        ("order.placed", "order.confirmed", "order.paid", "order.shipped", "order.delivered"),
    ),
    "rejected": (("order.placed", "order.rejected"), ("order.placed", "order.confirmed", "order.rejected")),
    "cancelled": (("order.placed", "order.cancelled"), ("order.placed", "order.confirmed", "order.cancelled")),
}
_MAILED = ("order.confirmed", "order.rejected", "order.shipped")


@dataclass(frozen=True, slots=True)
class Difference:
    """`subject` is an order's or a product's id; `what` says where the books differ."""

    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    orders: int
    in_flight: Sequence[str]
    differences: Sequence[Difference]

    @property
    def clean(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True)
class _Traces:
    """What everybody else has on record of one order."""

    reservations: list[tuple[str, Mapping[str, int]]] = field(default_factory=list)
    sales_orders: list[tuple[str, int]] = field(default_factory=list)
    payments: list[tuple[str, str]] = field(default_factory=list)
    mails: Counter[str] = field(default_factory=Counter)


def audit(books: Books) -> Report:
    """Compare the books. Orders still in flight are listed and not judged, but for their history."""
    in_flight = [order.id for order in books.orders if order.status in _IN_FLIGHT]
    traces = _traces(books)
    differences = [Difference(order.id, what) for order in books.orders for what in _of_order(order, traces[order.id])]
    differences += _strangers(books)
    differences += _of_stock(books, settled=not in_flight)
    return Report(len(books.orders), in_flight, differences)


def _of_order(order: OrderBook, traces: _Traces) -> Iterator[str]:
    sequences = [sequence for sequence, _ in order.history]
    if sequences != list(range(1, len(sequences) + 1)):
        yield f"its history has gaps: {sequences}"
    if order.status in _IN_FLIGHT:
        return
    types = tuple(event_type for _, event_type in order.history)
    if types not in _HISTORIES[order.status]:
        yield f"it is {order.status}, but its history is {', '.join(types)}"
    if order.unpublished:
        yield f"{order.unpublished} of its events have not been published"
    yield from _of_mails(types, traces.mails)
    yield from _of_sale(order, traces) if order.status == "shipped" else _of_undone(traces)


def _of_mails(types: Sequence[str], mails: Counter[str]) -> Iterator[str]:
    for event_type in _MAILED:
        kind = event_type.removeprefix("order.")
        expected = int(event_type in types)
        if mails[kind] != expected:
            yield f"{mails[kind]} mails of the kind {kind!r}, expected {expected}"


def _of_sale(order: OrderBook, traces: _Traces) -> Iterator[str]:
    if traces.reservations != [("shipped", order.lines)]:
        yield f"inventory should hold one reservation of {dict(order.lines)}, shipped: {traces.reservations}"
    if traces.sales_orders != [("shipped", 1)]:
        yield f"the ERP should hold one sales order with one shipment: {traces.sales_orders}"
    if traces.payments != [(order.payment_id, _MONEY_TAKEN)]:
        yield f"the payment provider should have taken the money once, as {order.payment_id}: {traces.payments}"


def _of_undone(traces: _Traces) -> Iterator[str]:
    if any(state != "released" for state, _ in traces.reservations) or len(traces.reservations) > 1:
        yield f"inventory still holds something: {traces.reservations}"
    if (
        any(state != "cancelled" or shipments for state, shipments in traces.sales_orders)
        or len(traces.sales_orders) > 1
    ):
        yield f"the ERP has not cancelled it: {traces.sales_orders}"
    if any(status in (_MONEY_TAKEN, "processing") for _, status in traces.payments):
        yield f"money was taken, or will be: {traces.payments}"


def _strangers(books: Books) -> Iterator[Difference]:
    """Traces of orders that were never accepted."""
    accepted = {order.id for order in books.orders}
    for order_id in sorted(_traces(books).keys() - accepted):
        yield Difference(order_id, "it was never accepted, but somebody has it on record")


def _of_stock(books: Books, *, settled: bool) -> Iterator[Difference]:
    promised: dict[str, Counter[str]] = defaultdict(Counter)
    for reservation in books.reservations:
        for product_id, quantity in reservation.lines.items():
            promised[product_id][reservation.state] += quantity
    for stock in books.stock:
        if stock.available + stock.reserved + stock.shipped != stock.received:
            figures = f"{stock.available} available + {stock.reserved} reserved + {stock.shipped} shipped"
            yield Difference(stock.product_id, f"{figures} is not the {stock.received} that came in")
        if not settled:
            continue  # while orders move, two books that are read one after the other may differ
        if (stock.reserved, stock.shipped) != (
            promised[stock.product_id]["held"],
            promised[stock.product_id]["shipped"],
        ):
            sums = f"{promised[stock.product_id]['held']} held and {promised[stock.product_id]['shipped']} shipped"
            yield Difference(
                stock.product_id, f"{stock.reserved} reserved and {stock.shipped} shipped, but reservations say {sums}"
            )
        if stock.erp_on_hand is not None and stock.erp_on_hand != stock.received - stock.shipped:
            yield Difference(stock.product_id, f"the ERP has {stock.erp_on_hand}, not {stock.received - stock.shipped}")


def _traces(books: Books) -> dict[str, _Traces]:
    """Order id -> what everybody else has on record of it."""
    traces: defaultdict[str, _Traces] = defaultdict(_Traces)
    for reservation in books.reservations:
        traces[reservation.order_id].reservations.append((reservation.state, reservation.lines))
    for sales_order in books.sales_orders:
        traces[sales_order.order_id].sales_orders.append((sales_order.state, sales_order.shipments))
    for payment in books.payments:
        traces[payment.order_id].payments.append((payment.id, payment.status))
    for mail in books.mails:
        traces[mail.order_id].mails[mail.kind] += 1
    return traces


async def audit_running_shop(settings: Settings, *, wait: float) -> Report:
    """Audit a running shop; look again for up to `wait` seconds while orders are in flight or the books differ."""
    deadline = time.monotonic() + wait
    while True:
        report = audit(await read(settings))
        if (report.clean and not report.in_flight) or time.monotonic() >= deadline:
            return report
        await asyncio.sleep(0.2)


def as_dict(report: Report) -> dict[str, object]:
    return {
        "orders": report.orders,
        "in_flight": list(report.in_flight),
        "differences": [asdict(each) for each in report.differences],
    }
