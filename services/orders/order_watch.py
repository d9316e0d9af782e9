"""Order watch: wakes the watchers of an order whenever the event log has news of it.

The log is read only while there are watchers: every event of every order would wake this process for nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress

from chassis.background import forever, wait
from chassis.broker.event_log import EventLog, PositionExpired

_POLL_SECONDS = 2.0
_PAUSE = 1.0


class LogOrderWatch:
    def __init__(self, event_log: EventLog) -> None:
        self._event_log = event_log
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._watched = asyncio.Event()

    async def follow(self) -> None:
        """Read the log whenever there are watchers, for as long as the process lives."""
        await forever(self._follow, name="order watch", every=_PAUSE)

    async def _follow(self) -> float:
        await self._watched.wait()
        with suppress(PositionExpired):  # the log began anew: so do we
            async with self._event_log.tail() as entries:
                # The log is read from its end: what happened before is not in it.
                for order_id in tuple(self._watchers):
                    self._wake(order_id)
                async for entry in entries:
                    if not self._watchers:
                        break
                    self._wake(entry.event.subject)
        return _PAUSE if self._watchers else 0.0

    def _wake(self, order_id: str) -> None:
        for watcher in self._watchers.get(order_id, ()):
            watcher.set()

    async def watch(self, order_id: str) -> AsyncIterator[None]:
        """Yields at once, then whenever the order may have changed, and every two seconds in case the log is away."""
        changed = asyncio.Event()
        self._watchers[order_id].add(changed)
        self._watched.set()
        try:
            while True:
                changed.clear()
                yield
                await wait(changed, _POLL_SECONDS)
        finally:
            self._watchers[order_id].discard(changed)
            if not self._watchers[order_id]:
                del self._watchers[order_id]
            if not self._watchers:
                self._watched.clear()
