"""Closing a client of the library, which loses cancellations while it closes.

It cancels tasks of its own and waits for them: a cancellation of its caller meanwhile reaches such a task, which has
ended anyway, and the caller goes on as if there had been none. One of them may also miss the library's cancellation,
until a second one comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from chassis.broker.kafka.failures import translated
from chassis.broker.port import BrokerUnavailable

CLOSE_TIMEOUT = 5.0


async def closed(close: Callable[[], Awaitable[None]], *, within: float = CLOSE_TIMEOUT) -> None:
    """Close a client, or give that up after so many seconds. Whatever the library raises ends here.

    A cancellation of the caller is raised once the client is closed.
    """
    closing = asyncio.create_task(_close(close, within))
    try:
        await asyncio.wait({closing})
    except asyncio.CancelledError:
        await asyncio.wait({closing})
        raise


async def _close(close: Callable[[], Awaitable[None]], within: float) -> None:
    with suppress(BrokerUnavailable, asyncio.CancelledError), translated():
        async with asyncio.timeout(within):
            await close()
