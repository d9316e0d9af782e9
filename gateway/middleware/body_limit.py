"""Request body limits: size, with and without Content-Length, and minimum speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.exceptions import HTTPException

from chassis.http.middleware import Application, Message, Receive, Scope, Send
from chassis.resilience.deadlines import time_left
from gateway.errors import answer, body_too_large

# A body up to this size is read to its end, so that the connection can be kept.
_SMALL_BYTES = 64 << 10
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
    """Pure ASGI: an error that is answered before a large body has been read closes the connection.

    What still comes on it may have no end. Not at once: closing on bytes that were not read makes the system drop the
    answer, too. So the answer goes out whole, and for a moment what comes is read and dropped.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_large_body(scope):
            await self._app(scope, receive, send)
            return
        unread, refused = True, False

        async def reading() -> Message:
            nonlocal unread
            message: Message = await receive()
            unread = bool(message.get("more_body", False))
            return message

        async def lingering(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = message["status"] >= 400 and unread
                if refused:
                    headers = [each for each in message.get("headers", ()) if each[0] != b"connection"]
                    message["headers"] = [*headers, (b"connection", b"close")]
            elif refused and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _dropped(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, reading, lingering)


def _has_large_body(scope: Scope) -> bool:
    """Whether a body has no stated length, or more than is worth reading to keep the connection."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return not value.isdigit() or len(value) > 9 or int(value) > _SMALL_BYTES
        if name == b"transfer-encoding":
            return True
    return False


async def _dropped(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LINGER):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        return
