"""Tasks that run beside a process's main work for as long as it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the coroutines while the block runs and cancel them when it ends.

    One that fails takes the process down with it (the block is cancelled and its error raised): a process without
    its relay or its consumer looks alive and is not, and whoever started it knows how to start it again.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
