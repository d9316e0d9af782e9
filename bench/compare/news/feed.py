"""The feed: events of one process, kept for as long as a benchmark takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

# Id, type and `at`: seconds of the machine's monotonic clock, which all of its processes read alike.
Event = dict[str, Any]
Seen = Callable[[Event], None]


class Feed:
    """Publishes to waiting watchers. A watcher is never behind: it requests all events after the id that it has."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._published = asyncio.Event()

    def publish(self) -> None:
        """A new event, now."""
        self.events.append({"id": len(self.events) + 1, "type": "order.paid", "at": time.monotonic()})
        self._published.set()
        self._published = asyncio.Event()

    def after(self, position: int) -> list[Event]:
        """The events after this id, oldest first."""
        return self.events[position:]

    async def wait(self, position: int, timeout: float | None = None) -> list[Event]:
        """The same, once there is something; after `timeout` seconds nothing."""
        try:
            async with asyncio.timeout(timeout):
                while not self.after(position):
                    await self._published.wait()
        except TimeoutError:
            return []
        return self.after(position)

    async def following(self) -> AsyncIterator[Event]:
        """Every event from now on."""
        position = len(self.events)
        while True:
            for event in await self.wait(position):
                yield event
                position = event["id"]


FEED = Feed()
