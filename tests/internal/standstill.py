"""Waiting until nothing moves any more: how a test sees that something is held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def standstill(progress: Callable[[], int], *, since: int = 0) -> int:
    """Wait until a figure is no longer what it was, and then has not moved for two seconds; return it."""
    last, quiet = since, 0
    async with asyncio.timeout(60):
        while quiet < 40:
            await asyncio.sleep(0.05)
            quiet = quiet + 1 if last != since and progress() == last else 0
            last = progress()
    return last
