"""Order watch: wakes the watchers of an order whenever the event log has news of it."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress

from chassis.background import forever, wait
from chassis.broker.event_log import EventLog, PositionExpired

log = logging.getLogger(__name__)

_AT_LEAST_EVERY = 2.0
_PAUSE = 1.0


class LogChanges:
    def __init__(self, event_log: EventLog) -> None:
        self._event_log = event_log
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def follow(self) -> None:
        """Read the log for as long as the process lives."""
        await forever(self._follow, name="order watch", every=_PAUSE)

    async def _follow(self) -> None:
        with suppress(PositionExpired):  # the log began anew: so do we
            async with self._event_log.tail() as entries:
                async for entry in entries:
                    for watcher in self._watchers.get(entry.event.subject, ()):
                        watcher.set()

    async def of(self, order_id: str) -> AsyncIterator[None]:
        """Yields at once, then whenever the order may have changed, and every two seconds in case the log is away."""
        changed = asyncio.Event()
        self._watchers[order_id].add(changed)
        try:
            while True:
                changed.clear()
                yield
                await wait(changed, _AT_LEAST_EVERY)
        finally:
            self._watchers[order_id].discard(changed)
            if not self._watchers[order_id]:
                del self._watchers[order_id]
