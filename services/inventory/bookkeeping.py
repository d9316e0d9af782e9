"""What inventory does by itself: tell the ERP of goods that came or went, and let old reservations go."""

from __future__ import annotations

import asyncio
import logging

from chassis.database import DATABASE_ERRORS
from chassis.errors import Kind, ShopError
from services.inventory.domain import Adjustment
from services.inventory.ports import Erp, StockStore
from services.inventory.use_cases import Inventory

log = logging.getLogger(__name__)

_BATCH = 100
_AT_ONCE = 8
_POLL_SECONDS = 0.5
_BACKOFF_SECONDS = 2.0
_LONGEST_SWEEP = 10.0


class Bookkeeping:
    def __init__(self, store: StockStore, erp: Erp, inventory: Inventory) -> None:
        self._store = store
        self._erp = erp
        self._inventory = inventory

    async def book(self) -> None:
        """Tell the ERP what was counted, as long as the process lives. While it is away, adjustments wait.

        The ERP books each id once, so nobody is harmed by a process that dies between its answer and our note, or by
        two copies of inventory that tell it the same.
        """
        while True:
            try:
                adjustments = await self._store.unbooked(_BATCH)
                done = await self._book_all(adjustments)
                pause = (
                    0.0 if len(done) == _BATCH else _POLL_SECONDS if len(done) == len(adjustments) else _BACKOFF_SECONDS
                )
            except DATABASE_ERRORS as error:
                log.warning("the ERP has to wait for adjustments", extra={"reason": str(error)})
                pause = _BACKOFF_SECONDS
            await asyncio.sleep(pause)

    async def expire(self, ttl: float) -> None:
        """Let reservations go that are older than `ttl` seconds and not confirmed, as long as the process lives."""
        pause = min(ttl / 4, _LONGEST_SWEEP)
        while True:
            try:
                while expired := await self._inventory.expire():
                    log.info("reservations expired", extra={"count": expired})
            except DATABASE_ERRORS as error:
                log.warning("reservations could not expire", extra={"reason": str(error)})
            await asyncio.sleep(pause)

    async def _book_all(self, adjustments: list[Adjustment]) -> list[str]:
        """Book a few at a time, until the ERP does not answer. Returns the ids of those that it has booked."""
        done: list[str] = []
        for begin in range(0, len(adjustments), _AT_ONCE):
            some = adjustments[begin : begin + _AT_ONCE]
            outcomes = await asyncio.gather(*(self._erp.book(each) for each in some), return_exceptions=True)
            booked = [each.id for each, outcome in zip(some, outcomes, strict=True) if outcome is None]
            if booked:
                await self._store.note_booked(booked)
                done += booked
            for each, outcome in zip(some, outcomes, strict=True):
                if isinstance(outcome, ShopError) and outcome.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT):
                    return done
                if outcome is not None:
                    # It stays, and so does the difference in the books, until somebody has looked into it.
                    log.error("the ERP does not book %s: %s", each.id, outcome)
        return done
