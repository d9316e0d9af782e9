"""Wakes those who watch an order, by the event log: whichever process has changed it, the log tells."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator

from chassis.broker.port import Broker, BrokerUnavailable

log = logging.getLogger(__name__)

_AT_LEAST_EVERY = 2.0
_PAUSE = 1.0


class LogChanges:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def follow(self) -> None:
        """Read the log for as long as the process lives."""
        while True:
            try:
                async with self._broker.tail() as entries:
                    async for entry in entries:
                        for watcher in self._watchers.get(entry.event.subject, ()):
                            watcher.set()
            except BrokerUnavailable as error:
                log.warning("the event log is away", extra={"reason": str(error)})
            await asyncio.sleep(_PAUSE)

    async def of(self, order_id: str) -> AsyncIterator[None]:
        """Yields at once, then whenever the order may have changed, and every two seconds in case the log is away."""
        changed = asyncio.Event()
        self._watchers[order_id].add(changed)
        try:
            while True:
                changed.clear()
                yield
                try:
                    # Not wait_for: Python 3.11's forgets a cancellation that comes together with the event.
                    async with asyncio.timeout(_AT_LEAST_EVERY):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._watchers[order_id].discard(changed)
            if not self._watchers[order_id]:
                del self._watchers[order_id]
