"""ERP sync: reports stock changes to the ERP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from chassis.background import forever
from chassis.broker.consumer import is_temporary
from services.inventory.domain import Adjustment
from services.inventory.ports import Erp, StockStore

log = logging.getLogger(__name__)

_PAGE = 100
_MAX_CONCURRENT = 8
_POLL_SECONDS = 0.5
_BACKOFF_SECONDS = 2.0
# Until rejected adjustments are tried again, at the earliest: an operator may have fixed the cause in the ERP.
_REJECTED_SECONDS = 5.0
_MAX_LOGGED = 1_000


class ErpSync:
    def __init__(self, store: StockStore, erp: Erp) -> None:
        self._store = store
        self._erp = erp
        # The last of a batch in which the ERP rejected some: what was counted after it does not wait for them.
        self._after: Adjustment | None = None
        self._at_the_last = False
        self._from_the_first_at = 0.0
        # Rejected adjustments that the log has, each once however often it is tried.
        self._logged: deque[str] = deque(maxlen=_MAX_LOGGED)

    async def book(self) -> None:
        """Book adjustments in the ERP, as long as the process lives. While it is away, they wait.

        The ERP books each id once, so a process that dies between its answer and our note does no harm, nor do two
        copies of inventory that send the same one.
        """
        await forever(self._book, name="ERP sync", every=_POLL_SECONDS)

    async def _book(self) -> float:
        if self._at_the_last and time.monotonic() >= self._from_the_first_at:
            self._after = None
        adjustments = await self._store.unbooked(_PAGE, after=self._after)
        answered, booked = await self._book_all(adjustments)
        if answered < len(adjustments):
            return _BACKOFF_SECONDS
        self._at_the_last = len(adjustments) < _PAGE
        if booked < answered:
            if self._after is None:
                self._from_the_first_at = time.monotonic() + _REJECTED_SECONDS
            self._after = adjustments[-1]
        return _POLL_SECONDS if self._at_the_last else 0.0

    async def _book_all(self, adjustments: list[Adjustment]) -> tuple[int, int]:
        """Book a few at a time, until the ERP does not answer. Returns how many it answered, and how many it booked."""
        answered = booked = 0
        for begin in range(0, len(adjustments), _MAX_CONCURRENT):
            some = adjustments[begin : begin + _MAX_CONCURRENT]
            outcomes = await asyncio.gather(*(self._erp.book(each) for each in some), return_exceptions=True)
            if done := [each.id for each, outcome in zip(some, outcomes, strict=True) if outcome is None]:
                await self._store.note_booked(done)
                booked += len(done)
            for each, outcome in zip(some, outcomes, strict=True):
                if outcome is not None and not self._rejected(each, outcome):
                    return answered, booked
            answered += len(some)
        return answered, booked

    def _rejected(self, adjustment: Adjustment, error: BaseException) -> bool:
        """Whether the ERP rejected an adjustment, which is logged; it answered nothing otherwise."""
        # A cancelled call: its channel was closed.
        if isinstance(error, asyncio.CancelledError) or (isinstance(error, Exception) and is_temporary(error)):
            return False
        if adjustment.id not in self._logged:
            # It stays, and so does the difference in the books, until an operator has looked into it.
            log.error("ERP sync: stock change %s rejected: %s", adjustment.id, error)
            self._logged.append(adjustment.id)
        return True
