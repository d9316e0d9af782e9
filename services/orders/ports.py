"""Ports of the use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from chassis.pagination import Place
from services.orders.domain import Item, Order, OrderPlaced, Outcome


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event of an order: `sequence` counts 1, 2, 3 … within it; `data` is JSON."""

    id: str
    type: str
    sequence: int
    time: datetime
    data: str


@dataclass(frozen=True, slots=True)
class Record:
    """An order as the audit sees it."""

    order: Order
    history: Sequence[HistoryEntry]
    unpublished: int
    demo: bool


class OrderStore(Protocol):
    """Each writing method is one transaction, with the event that it causes."""

    async def add(self, order: Order, placed: OrderPlaced, *, key: str, fingerprint: str) -> tuple[Order, str]:
        """Add a new order, unless the user has used the key already: the order under the key, and its fingerprint."""

    async def by_key(self, user_id: str, key: str) -> tuple[Order, str] | None:
        """The order that was placed under an idempotency key, and its fingerprint."""

    async def get(self, order_id: str) -> Order | None: ...

    async def by_ids(self, order_ids: Sequence[str]) -> list[Order]:
        """The orders that exist, in any order."""

    async def page(self, user_id: str, *, before: Place | None, size: int) -> list[Order]:
        """A user's orders, newest first, those placed before a moment (and id)."""

    async def newest_of(self, user_ids: Sequence[str], *, each: int) -> list[Order]:
        """The newest orders of several users, at most `each` of each."""

    async def change(self, order_id: str, decide: Callable[[Order], Outcome]) -> Order:
        """Apply a decision to an order, alone. Raises NOT_FOUND and what `decide` raises.

        `decide` returns the order that it was given where it changes nothing.
        """

    async def history(self, order_id: str) -> list[HistoryEntry]: ...

    async def records(self, *, after: Place | None, size: int) -> list[Record]:
        """Orders with all that is known of them, oldest first."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The orders that wait for their first step: how many each customer has, and since when the oldest one waits."""

    by_customer: Mapping[str, int]
    oldest: datetime | None


class WaitingOrders(Protocol):
    async def backlog(self) -> Backlog:
        """The backlog of now, or of a moment ago."""


class OrderWatch(Protocol):
    def watch(self, order_id: str) -> AsyncIterator[None]:
        """Yields whenever the order may have changed."""


@dataclass(frozen=True, slots=True)
class Quote:
    items: Sequence[Item]
    total: Decimal
    currency: str


class Catalog(Protocol):
    async def quote(self, basket: Sequence[tuple[str, int]]) -> Quote:
        """Prices on behalf of the caller. Raises INVALID_INPUT for unknown products."""


class Inventory(Protocol):
    async def reserve(self, order: Order) -> None:
        """A repeat renews the time limit, or reserves anew. Raises OUT_OF_STOCK or ORDER_CLOSED."""

    async def confirm(self, order_id: str) -> None:
        """Keep what was reserved from expiring. Raises RESERVATION_EXPIRED or RESERVATION_NOT_HELD."""

    async def release(self, order_id: str) -> None: ...

    async def ship(self, order_id: str) -> None: ...


class Erp(Protocol):
    async def register(self, order: Order) -> None:
        """Raises a ShopError of kind PRECONDITION when the ERP refuses the order."""

    async def cancel(self, order_id: str) -> None: ...

    async def create_shipment(self, order_id: str) -> str:
        """The shipment's number; the same again for a repeat."""


class Payments(Protocol):
    async def request(self, order: Order) -> str:
        """Request the payment of an order; return its reference, the same for a repeat. Raises PAYMENT_DECLINED."""

    async def cancel(self, order_id: str) -> None:
        """Cancel or refund every payment of an order."""
