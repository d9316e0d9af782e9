"""The provider's own work, beside the requests: collects what is due and tells the shop. All state is in the ledger."""

from __future__ import annotations

import asyncio
import time

from partners.payment_provider.domain import collected
from partners.payment_provider.ledger import Ledger, PendingEvent
from partners.payment_provider.teller import Teller, delay_after

_AT_ONCE = 16


class Collector:
    def __init__(self, ledger: Ledger, teller: Teller) -> None:
        self._ledger = ledger
        self._teller = teller
        self._news = asyncio.Event()
        self._telling: set[str] = set()

    def wake(self) -> None:
        """There may be something to do earlier than it was thought."""
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled. What a former process left undone is due and done first."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                next_due = await self._ledger.collect_due(collected)
                room = _AT_ONCE - len(self._telling)
                events, next_attempt = await self._ledger.untold(room, besides=self._telling)
                for event in events:
                    self._telling.add(event.id)
                    tasks.create_task(self._tell(event))
                # Without room, the end of one that is being told is the next thing to wait for.
                await self._rest(next_due, next_attempt if len(self._telling) < _AT_ONCE else None)

    async def _rest(self, *moments: float | None) -> None:
        """Sleep until the first of these moments, or until there is news."""
        waits = [max(0.0, moment - time.time()) for moment in moments if moment is not None]
        try:
            # Not `wait_for`: Python 3.11's drops a cancellation that comes together with the event.
            async with asyncio.timeout(min(waits, default=None)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _tell(self, event: PendingEvent) -> None:
        try:
            if await self._teller.tell(event):
                await self._ledger.delivered(event.id)
            else:
                await self._ledger.postpone(event.id, delay_after(event.attempts))
        finally:
            self._telling.discard(event.id)
            self.wake()
