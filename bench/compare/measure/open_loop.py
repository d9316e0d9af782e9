"""An open loop: calls start when they are due, whether or not earlier ones have been answered (wrk2's method).

Latency counts from the intended start, so a server that stalls is charged for every call that it made late, and a
client that comes late charges itself. A failed call is infinitely late.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

# More on their way than this, and the next call fails at once: what grows without bound measures memory.
MAX_IN_FLIGHT = 2_000


async def open_loop(
    call: Callable[[], Awaitable[object]], rate: float, seconds: float, *, timeout: float
) -> list[float]:
    """Latencies, in seconds and in the order of their intended starts, of `rate * seconds` calls."""
    latencies = [math.inf] * max(1, round(rate * seconds))
    flying: set[asyncio.Task[None]] = set()
    began = time.perf_counter()

    async def one(index: int, intended: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await call()
        except Exception:  # noqa: BLE001 - any failure is a failed call, and counted as such
            return
        latencies[index] = time.perf_counter() - intended

    for index in range(len(latencies)):
        intended = began + index / rate
        # Always at least one turn of the loop, so that a late schedule does not keep answers from being read.
        await asyncio.sleep(max(0.0, intended - time.perf_counter()))
        if len(flying) < MAX_IN_FLIGHT:
            task = asyncio.create_task(one(index, intended))
            flying.add(task)
            task.add_done_callback(flying.discard)
    await asyncio.gather(*flying)
    return latencies
