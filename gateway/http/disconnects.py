"""Work that stops when its client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled when the client closes the connection: then raises `ClientDisconnect`.

    For what is expensive behind us and of no use without its answer. The request's body must have been read.
    """
    waiting = asyncio.current_task()
    if waiting is None:
        raise RuntimeError("requests are answered in a task")
    gone, over = asyncio.create_task(_disconnected(request)), False

    def give_up(watch: asyncio.Task[None]) -> None:
        # Not once the work is done: what the caller does next is not ours to cancel.
        if not (over or watch.cancelled()):
            waiting.cancel()

    gone.add_done_callback(give_up)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone.done():
            raise
        waiting.uncancel()
        raise ClientDisconnect from None
    finally:
        over = True
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
