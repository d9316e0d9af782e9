"""The health of a process that serves nothing else: `/healthz` while it lives, `/readyz` while it can work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from chassis.http import Receive, Scope, Send


@asynccontextmanager
async def showing_health(host: str, port: int, ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Answer at `http://host:port` until the block ends: 200 or, for `/readyz` while `ready` says no, 503.

    Port 0: do not listen at all.
    """
    if not port:
        yield
        return
    # Imported here: a process that listens nowhere does not pay for it.
    from chassis.http_server import serve_http

    async def application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's shape
        status, body = await _answer(scope["path"], ready)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with serve_http(application, host=host, port=port, drain=1):
        yield


async def _answer(path: str, ready: Callable[[], Awaitable[bool]]) -> tuple[int, bytes]:
    match path:
        case "/healthz":
            return 200, b'{"status":"alive"}'
        case "/readyz":
            return (200, b'{"status":"ready"}') if await ready() else (503, b'{"status":"not ready"}')
        case _:
            return 404, b'{"status":"there is only /healthz and /readyz here"}'
