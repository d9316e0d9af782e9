"""How large a request's body may be, whether it says its length beforehand or arrives in chunks, and how slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.exceptions import HTTPException

from chassis.http import Application, Message, Receive, Scope, Send
from chassis.resilience import time_left
from gateway.errors import answer, body_too_large

# Seconds for which the rest of a body that was refused is read, so that its client gets to see the answer.
_LINGER = 1.0


class BodyLimit:
    """Pure ASGI: answers 413 to a `Content-Length` that is too large, and breaks off a chunked body that becomes so.

    A body that has not arrived within the request's deadline is a 408.
    """

    def __init__(self, app: Application, limit_of: Callable[[str], int]) -> None:
        """`limit_of` a path is in bytes."""
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length":
                limit = self._limit_of(scope["path"])
                if int(value) > limit:
                    await answer(body_too_large(limit))(scope, receive, send)
                    return
                receive = _bounded(receive, limit)
            elif name == b"transfer-encoding":
                receive = _bounded(receive, self._limit_of(scope["path"]))
        await self._app(scope, receive, send)


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, which raises when the body becomes too large or too late.

    Not a ShopError: FastAPI takes any other exception while it reads a body for a malformed one.
    """
    received = 0
    complete = False

    async def bounded() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()  # type: ignore[no-any-return]
        try:
            async with asyncio.timeout(time_left()):
                message: Message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, "the body did not arrive in time") from error
        complete = not message.get("more_body", False)
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, body_too_large(limit).message)
        return message

    return bounded


class LingeringClose:
    """Pure ASGI: after a 413 the connection is closed, for what still comes on it may have no end.

    Not at once: closing on bytes that nobody has read makes the system forget the answer, too. So the answer goes out
    whole, and for a moment what comes is read and dropped.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def lingering(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = message["status"] == 413
                if refused:
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            elif refused and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _dropped(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, receive, lingering)


async def _dropped(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LINGER):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        return
