"""Events of orders as the log has them, and what reports should make of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import orjson

from chassis.broker.port import Event

DAY = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Order:
    """An order of one product; `ends` is how far it comes."""

    product_id: str = "42"
    quantity: int = 1
    user_id: str = "123"
    price: str = "89.00"
    currency: str = "EUR"
    ends: str = "paid"
    at: datetime = DAY
    id: str = ""

    @property
    def total(self) -> Decimal:
        return Decimal(self.price) * self.quantity


def event(kind: str, order_id: str, at: datetime, **facts: object) -> Event:
    data = orjson.dumps({"order_id": order_id, **facts})
    return Event(uuid4().hex, f"order.{kind}", "/orders", order_id, at, data)


def life(order: Order) -> list[Event]:
    """Its events, in order."""
    order_id = order.id or uuid4().hex
    line = {"product_id": order.product_id, "name": f"Product {order.product_id}", "quantity": order.quantity}
    items = [{**line, "unit_price": order.price}]
    whole = {"user_id": order.user_id, "total": str(order.total), "currency": order.currency}
    placed = event("placed", order_id, order.at, items=items, placed_at=order.at, **whole)
    if order.ends == "placed":
        return [placed]
    if order.ends in ("rejected", "cancelled"):
        return [placed, event(order.ends, order_id, order.at, user_id=order.user_id, reason="no")]
    payment = {"user_id": order.user_id, "payment_id": f"pi_{order_id}"}
    return [
        placed,
        event("confirmed", order_id, order.at, **whole, payment_id=payment["payment_id"]),
        event("paid", order_id, order.at, **payment),
        event("shipped", order_id, order.at, user_id=order.user_id, shipment_number="1"),
    ]


def lives(orders: Iterable[Order]) -> list[Event]:
    return [each for order in orders for each in life(order)]


def several(count: int, **facts: str) -> list[Order]:
    """Orders of a few customers and products, all of them paid."""
    return [
        Order(product_id=str(40 + number % 3), quantity=1 + number % 4, user_id=str(number % 5), **facts)  # type: ignore[arg-type]
        for number in range(count)
    ]


def revenue(orders: Sequence[Order]) -> Decimal:
    """Of those that are paid."""
    return sum((order.total for order in orders if order.ends == "paid"), Decimal("0.00"))
