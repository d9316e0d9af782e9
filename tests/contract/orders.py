"""Orders for trying out their store."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from services.orders import domain
from services.orders.domain import Item, Order, Status
from services.orders.sql_store import SqlOrderStore

EPOCH = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ITEMS = (Item("42", "Keyboard", 2, Decimal("89.00")), Item("20", "Tea ☕", 1, Decimal("9.50")))


def an_order(user_id: str = "u1", *, placed_at: datetime = EPOCH, order_id: str = "") -> Order:
    """A new order."""
    return Order(order_id or uuid4().hex, user_id, Status.PENDING, "", ITEMS, Decimal("187.50"), "EUR", placed_at)


async def placed(store: SqlOrderStore, order: Order, key: str = "") -> Order:
    """The order that the store has after a placement."""
    return (await store.add(*domain.place(order), key=key, fingerprint="f"))[0]
