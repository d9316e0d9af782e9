"""Workers of E5: a publisher, and a client that is many watchers at once."""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

import psutil

from bench.compare.adapters.port import Link
from bench.compare.measure.together import together
from bench.compare.news.feed import FEED, Event

MAX_FILES = 8_192
_READY_TIMEOUT = 90.0
# Watchers that connect at the same time.
_CONCURRENCY = 50


def allow_files() -> None:
    """Let this process open a thousand connections, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class Publisher:
    """Serves the feed in one way, and publishes on command."""

    def __init__(self, module: str) -> None:
        allow_files()
        self._module: Any = import_module(module)
        self._stack = AsyncExitStack()

    async def serve(self) -> int:
        """Begin to serve; returns the port."""
        return int(await self._stack.enter_async_context(self._module.serve(())))

    async def publish(self, count: int, every: float) -> float:
        """Publish `count` events, `every` seconds apart; returns the CPU seconds of it all, deliveries included."""
        cpu = time.process_time()
        for _ in range(count):
            await asyncio.sleep(every)
            FEED.publish()
        await asyncio.sleep(every)
        return time.process_time() - cpu

    async def memory(self) -> int:
        """Bytes that this process alone holds."""
        return int(psutil.Process().memory_full_info().uss)


class Watchers:
    """A number of watchers in one process."""

    def __init__(self, module: str) -> None:
        allow_files()
        self._module: Any = import_module(module)
        self._tasks: list[asyncio.Task[None]] = []
        self._delays: list[float] = []

    async def watch(self, link: Link, count: int) -> None:
        """Begin to watch; returns once all are connected."""
        gate = asyncio.Semaphore(_CONCURRENCY)

        async def connected() -> None:
            async with gate:
                ready = asyncio.Event()
                task = asyncio.create_task(self._module.watch(link, self._seen, ready))
                self._tasks.append(task)
                waiting = asyncio.create_task(ready.wait())
                await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    waiting.cancel()
                    await task

        async with asyncio.timeout(_READY_TIMEOUT):
            await together(connected() for _ in range(count))

    async def delays(self) -> list[float]:
        """Seconds from each event to when each watcher saw it, since the last call."""
        found, self._delays = self._delays, []
        return found

    async def listening(self) -> int:
        """The port of the last watcher that is a server itself (a webhook's)."""
        return int(self._module.LISTENING[-1])

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _seen(self, event: Event) -> None:
        self._delays.append(time.monotonic() - event["at"])
