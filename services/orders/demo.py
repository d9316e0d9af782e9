"""Demo orders in every state, among them order 123. They are history: no other service has a record of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.orders import domain
from services.orders.domain import Item, Order, OrderEvent, Status

_KEYBOARD = Item("42", "Mechanical Keyboard", 1, Decimal("89.00"))
_COURSE = Item("123", "Software Architecture", 1, Decimal("49.00"))
_CARDS = Item("8", "Punched Card Notebook", 3, Decimal("12.00"))
_TEA = Item("20", "Green Tea", 2, Decimal("9.50"))
_CORE_MEMORY = Item("7", "Core Memory Plane, Framed", 5, Decimal("349.00"))

_FIRST = datetime(2026, 1, 12, 10, 0, tzinfo=UTC)

# id, user, items, how far it came
_ORDERS: tuple[tuple[str, str, Sequence[Item], Status], ...] = (
    ("123", "123", (_COURSE, _KEYBOARD), Status.SHIPPED),
    ("124", "123", (_CARDS, _TEA), Status.CANCELLED),
    ("125", "123", (_CORE_MEMORY,), Status.REJECTED),
    ("126", "456", (_KEYBOARD,), Status.PAID),
    ("127", "456", (_TEA, _COURSE), Status.CONFIRMED),
    ("128", "789", (_CARDS,), Status.PENDING),
    ("129", "789", (_COURSE,), Status.SHIPPED),
)


def demo_orders() -> list[tuple[Order, list[tuple[datetime, OrderEvent]]]]:
    """Each order as it ended, with its history."""
    return [_lived(*row, placed_at=_FIRST + timedelta(days=number)) for number, row in enumerate(_ORDERS)]


def _lived(
    order_id: str, user_id: str, items: Sequence[Item], until: Status, *, placed_at: datetime
) -> tuple[Order, list[tuple[datetime, OrderEvent]]]:
    total = sum((item.unit_price * item.quantity for item in items), Decimal("0.00"))
    order = Order(order_id, user_id, Status.PENDING, "", items, total, "EUR", placed_at)
    history: list[tuple[datetime, OrderEvent]] = []
    for step, happened in _life(order, until):
        order = step
        if happened is not None:
            history.append((placed_at + timedelta(seconds=len(history)), happened))
    return replace(order, version=len(history)), history


def _life(order: Order, until: Status) -> Iterator[domain.Outcome]:
    """The decisions that lead an order from its beginning to a status."""
    payment_id = f"pi_demo_{order.id}"
    order, happened = domain.place(order)
    yield order, happened
    if until is Status.REJECTED:
        yield domain.reject(order, "not enough of 7 in stock")
        return
    if until is Status.CANCELLED:
        yield domain.cancel(order)
        return
    steps: tuple[tuple[Status, Callable[[Order], domain.Outcome]], ...] = (
        (Status.CONFIRMED, lambda current: domain.confirm(current, payment_id)),
        (Status.PAID, lambda current: domain.mark_paid(current, payment_id)),
        (Status.SHIPPED, lambda current: domain.ship(current, f"demo-{order.id}")),
    )
    reached = list(Status).index(until)
    for status, step in steps:
        if list(Status).index(status) <= reached:
            outcome = step(order)
            yield outcome
            order = outcome[0]
