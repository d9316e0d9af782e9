"""Workers of E5 in the shop: a watcher of orders, by one of the shop's ways."""

from __future__ import annotations

import asyncio
import time

from bench.compare.adapters.port import Link
from bench.compare.news import webhook
from bench.compare.news.shop_ways import WAYS, Orders

_READY_TIMEOUT = 90.0


class OrderWatcher:
    """Follows orders, and notes the time of day at which it sees each status."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], float] = {}
        self._news = asyncio.Event()
        self._orders = Orders()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, way: str, link: Link) -> None:
        """Connect; returns once every later event is seen."""
        ready = asyncio.Event()

        async def watch() -> None:
            await WAYS[way](link, self._note, ready, self._orders)

        task = asyncio.create_task(watch())
        self._tasks.add(task)
        waiting = asyncio.create_task(ready.wait())
        async with asyncio.timeout(_READY_TIMEOUT):
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task

    async def listening(self) -> int:
        """The port on which a webhook's receiver listens."""
        return webhook.LISTENING[-1]

    async def follow(self, order: str) -> None:
        """The order that a polling watcher reads from now on."""
        self._orders.put_nowait(order)

    async def seen(self, order: str, status: str, within: float) -> dict[str, float]:
        """Status -> time of day, of the order, once this status has been seen. Raises `TimeoutError`."""
        async with asyncio.timeout(within):
            while (order, status) not in self._seen:
                self._news.clear()
                await self._news.wait()
        return {known: at for (subject, known), at in self._seen.items() if subject == order}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note(self, order: str, status: str) -> None:
        self._seen.setdefault((order, status), time.time())
        self._news.set()
