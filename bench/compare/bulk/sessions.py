"""Workers of E6: both sides of a transfer, with their CPU."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

from bench.compare.adapters.port import Link
from bench.compare.bulk.content import SENT

_TRANSFER_TIMEOUT = 120.0


class Side:
    """One side of transfers: a server when `serve` is called, else a client."""

    def __init__(self, module: str) -> None:
        self._module: Any = import_module(module)
        self._stack = AsyncExitStack()

    async def serve(self) -> int:
        """Begin to serve; returns the port."""
        return int(await self._stack.enter_async_context(self._module.serve(())))

    async def usage(self) -> dict[str, float]:
        """CPU seconds so far, and what was sent, and when last."""
        return {"cpu": time.process_time(), "sent": SENT.bytes, "sent_at": SENT.at}

    async def transfer(self, link: Link, what: str, size: int) -> dict[str, Any]:
        """Seconds, and the hash of what arrived."""
        began = time.perf_counter()
        async with asyncio.timeout(_TRANSFER_TIMEOUT):
            found = await self._module.transfer(link, what, size)
        return {"seconds": time.perf_counter() - began, "sha256": found}

    async def give_up(self, link: Link, what: str, size: int, after: float) -> float:
        """Begin a transfer and cancel it after so many seconds; when that was (the machine's monotonic clock)."""
        task = asyncio.create_task(self._module.transfer(link, what, size))
        await asyncio.wait([task], timeout=after)
        if task.done():
            raise RuntimeError("the transfer was over before it could be cancelled")
        cancelled = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return cancelled
