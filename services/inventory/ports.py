"""The ports of the use cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from services.inventory.domain import Adjustment, Line, Reservation, Stock


class StockStore(Protocol):
    """Each method is one transaction; those that change a figure write `stock.changed` with it."""

    async def stock(self, product_ids: Sequence[str]) -> dict[str, Stock]:
        """Unknown products are left out."""

    async def reserve(self, order_id: str, lines: Sequence[Line], expires_at: datetime | None = None) -> None:
        """All or nothing, once per order; a repeat with a later `expires_at` renews it, or reserves anew what expired.

        Raises OUT_OF_STOCK, and ORDER_CLOSED after a release.
        """

    async def confirm(self, order_id: str) -> None:
        """Let what is held not expire. Raises RESERVATION_EXPIRED or RESERVATION_NOT_HELD."""

    async def shorten_waits(self, latest: datetime) -> None:
        """Let no reservation expire later than this."""

    async def expired(self, now: datetime, limit: int) -> list[str]:
        """The orders whose reservations should be given back."""

    async def expire(self, order_id: str, now: datetime) -> bool:
        """Give back what an order holds, unless it was confirmed meanwhile; whether it was given back."""

    async def release(self, order_id: str) -> None:
        """Give back what is held, and close the order for reserving. Raises RESERVATION_NOT_HELD after shipping."""

    async def ship(self, order_id: str) -> None:
        """Turn reserved into shipped. Raises RESERVATION_NOT_HELD when nothing is held."""

    async def adjust(self, adjustment: Adjustment) -> Stock:
        """Receive or lose goods, once per id. Raises OUT_OF_STOCK below zero, REFERENCE_REUSED for another's id."""

    async def unbooked(self, limit: int, *, after: Adjustment | None = None) -> list[Adjustment]:
        """Adjustments that the ERP has not booked yet, oldest first; those counted after `after`, if given."""

    async def note_booked(self, adjustment_ids: Sequence[str]) -> None:
        """Remember that the ERP has booked these."""

    async def note_erp_levels(self, levels: Mapping[str, int], as_of: datetime) -> None:
        """Store the ERP's latest figures."""

    async def reservations_page(self, after: str, size: int) -> list[Reservation]: ...

    async def stock_page(self, after: str, size: int) -> list[Stock]: ...


class Erp(Protocol):
    async def stock_levels(self, product_ids: Sequence[str], *, long_timeout: bool = False) -> Mapping[str, int]:
        """The pieces in the warehouse, reserved or not. Raises UPSTREAM_UNAVAILABLE or DEADLINE_EXCEEDED.

        Without `long_timeout` it ends early enough to answer a waiting customer with the last known figure instead.
        """

    async def book(self, adjustment: Adjustment) -> None:
        """Report goods that arrived or left; a repeat changes nothing."""
