"""The event log, read once in a gateway process: for the cache, and for requests that wait for an order.

A request that waits for an order (long polling) holds an `asyncio.Event` here and nothing else: no call, no query and
no subscription of its own, however many wait.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from chassis.background import forever
from chassis.broker.event_log import EventLog, PositionExpired
from chassis.broker.port import Event
from gateway.cache.cache import EdgeCache

MAX_WAITING = 1_000
# Seconds between two attempts to follow the log.
_PAUSE = 1.0


class OrderWaiters:
    """The requests that wait for an order to change, by order; at most `MAX_WAITING` in one process."""

    def __init__(self, limit: int = MAX_WAITING) -> None:
        self._limit = limit
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._count = 0
        self.over = False

    @contextmanager
    def expected(self, order_id: str) -> Iterator[asyncio.Event | None]:
        """An event that is set when the order may have changed; None when too many requests wait already."""
        if self.over or self._count >= self._limit:
            yield None
            return
        changed = asyncio.Event()
        self._waiting[order_id].add(changed)
        self._count += 1
        try:
            yield changed
        finally:
            self._count -= 1
            self._waiting[order_id].discard(changed)
            if not self._waiting[order_id]:
                del self._waiting[order_id]

    def changed(self, order_id: str) -> None:
        for event in self._waiting.get(order_id, ()):
            event.set()

    async def end(self) -> None:
        """Answer all that wait, as the process is about to stop; nothing waits from now on."""
        self.over = True
        for events in self._waiting.values():
            for event in events:
                event.set()


async def follow_log(event_log: EventLog, cache: EdgeCache | None, waiters: OrderWaiters) -> None:
    """Pass the log's events on to the cache and to the requests that wait for an order, as long as the process lives.

    While the broker is away, what is stored lasts as long as it is fresh, as in any shared cache; waiting requests are
    answered when their time is up.
    """

    def pass_on(event: Event) -> None:
        if event.type.startswith("order."):
            waiters.changed(event.subject)
        elif event.type == "product.changed" and cache is not None:
            cache.changed(event.subject)

    async def follow() -> None:
        with suppress(PositionExpired):  # the log began anew: so do we
            async with event_log.tail() as entries:
                if cache is not None:
                    cache.forget()  # what has changed until now is not known
                async for entry in entries:
                    pass_on(entry.event)

    await forever(follow, name="event feed of cached products and waiting requests", every=_PAUSE)
