"""The use cases of inventory, in plain types."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from chassis import wall_clock
from chassis.errors import Kind, ShopError, StoreUnavailable, invalid
from services.inventory.domain import Adjustment, Availability, Line, Reservation, Stock, availability
from services.inventory.ports import Erp, StockStore

log = logging.getLogger(__name__)

MAX_IDS = 100
# Pieces that one report may count in or out: more is a broken scanner.
MAX_ADJUSTMENT = 1_000_000
# What the ERP can take as a reference, so that every adjustment can be booked there.
_REFERENCE = re.compile(r"[!-~]{1,64}")
_EXPIRED_BATCH_SIZE = 100


class Inventory:
    def __init__(
        self, store: StockStore, erp: Erp, *, reservation_ttl: timedelta, clock: Callable[[], datetime] = wall_clock.now
    ) -> None:
        """`reservation_ttl`: how long an order that is not confirmed holds what it has reserved (again)."""
        self._store = store
        self._erp = erp
        self._reservation_ttl = reservation_ttl
        self._clock = clock

    async def availability(self, product_ids: Sequence[str], *, live: bool) -> list[Availability]:
        """Availability in the order of the ids; unknown products are left out. `live` queries the ERP too."""
        if len(product_ids) > MAX_IDS:
            at_most = f"must have at most {MAX_IDS} ids"
            raise invalid(f"request {at_most}", product_ids=at_most)
        stock = await self._store.stock(product_ids)
        now = self._clock()
        if not live:
            return [
                Availability(key, stock[key].available, stale=False, as_of=now) for key in product_ids if key in stock
            ]
        levels = await self._erp_levels(list(stock))
        await self._note(stock, levels, now)
        return [availability(stock[key], erp_on_hand=levels.get(key), now=now) for key in product_ids if key in stock]

    async def reserve(self, order_id: str, lines: Sequence[Line]) -> None:
        """All items of an order or none. A repeat renews the time that is left, and reserves anew what has expired.

        Raises OUT_OF_STOCK or ORDER_CLOSED.
        """
        if not order_id or not lines or any(line.quantity < 1 for line in lines):
            raise invalid("reservation must have an order and positive quantities")
        await self._store.reserve(order_id, _merged(lines), self._clock() + self._reservation_ttl)

    async def confirm(self, order_id: str) -> None:
        """Keep an order's reservation from expiring. Raises RESERVATION_EXPIRED or RESERVATION_NOT_HELD."""
        await self._store.confirm(order_id)

    async def expire(self) -> int:
        """Give back what orders that were not confirmed have held for too long; returns how many orders' it was."""
        now = self._clock()
        # One that would expire later was made before the clock was set back.
        await self._store.shorten_waits(now + self._reservation_ttl)
        expired = 0
        while order_ids := await self._store.expired(now, _EXPIRED_BATCH_SIZE):
            for order_id in order_ids:
                expired += await self._store.expire(order_id, now)
        return expired

    async def release(self, order_id: str) -> None:
        await self._store.release(order_id)

    async def ship(self, order_id: str) -> None:
        await self._store.ship(order_id)

    async def adjust(self, adjustment_id: str, line: Line) -> Stock:
        """The figures after goods were counted in or out. Raises INVALID_INPUT, OUT_OF_STOCK or REFERENCE_REUSED."""
        nameless = not _REFERENCE.fullmatch(adjustment_id) or not _REFERENCE.fullmatch(line.product_id)
        if nameless or not 1 <= abs(line.quantity) <= MAX_ADJUSTMENT:
            raise invalid(f"adjustment must have an id, a product and 1 to {MAX_ADJUSTMENT} pieces, in or out")
        return await self._store.adjust(Adjustment(adjustment_id, line.product_id, line.quantity, self._clock()))

    async def reservations(self, after: str, size: int) -> list[Reservation]:
        return await self._store.reservations_page(after, size)

    async def stock(self, after: str, size: int) -> tuple[list[Stock], Mapping[str, int]]:
        """A page of figures, and the ERP's figures of the same products (none while it does not answer)."""
        page = await self._store.stock_page(after, size)
        levels: dict[str, int] = {}
        for begin in range(0, len(page), MAX_IDS):
            ids = [stock.product_id for stock in page[begin : begin + MAX_IDS]]
            # A comparison of the books has nothing to fall back on.
            levels |= await self._erp_levels(ids, long_timeout=True)
        return page, levels

    async def _erp_levels(self, product_ids: Sequence[str], *, long_timeout: bool = False) -> Mapping[str, int]:
        """The ERP's figures; empty while it does not answer: the caller falls back to the last known ones."""
        if not product_ids:
            return {}
        try:
            return await self._erp.stock_levels(product_ids, long_timeout=long_timeout)
        except ShopError as error:
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED):
                raise
            return {}

    async def _note(self, stock: Mapping[str, Stock], levels: Mapping[str, int], now: datetime) -> None:
        news = {key: level for key, level in levels.items() if stock[key].outdated_by(level, now)}
        if not news:
            return
        try:
            await self._store.note_erp_levels(news, now)
        except StoreUnavailable as error:
            # A read does not need it: the last figures that were noted stay, with their time.
            log.warning("inventory: the ERP's stock levels not recorded: %s", error)


def _merged(lines: Sequence[Line]) -> list[Line]:
    """One line per product, in the order of their ids, so that two orders cannot wait for each other in a circle."""
    totals: dict[str, int] = {}
    for line in lines:
        totals[line.product_id] = totals.get(line.product_id, 0) + line.quantity
    return [Line(product_id, totals[product_id]) for product_id in sorted(totals)]
