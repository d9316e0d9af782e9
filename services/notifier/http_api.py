"""The notifier's port: WebSocket, SSE and health, served by aiohttp."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from chassis.errors import ShopError
from chassis.metrics import CONTENT_TYPE_LATEST
from chassis.problems import problem
from chassis.tls import Tls
from services.notifier.access import Doorkeeper

access_log = logging.getLogger("access")

_DRAIN_SECONDS = 6.0


def application(
    doorkeeper: Doorkeeper,
    connections: Mapping[str, Handler],
    *,
    ready: Callable[[], Awaitable[bool]],
    metrics: Callable[[], bytes],
) -> web.Application:
    """`/healthz`, `/readyz`, `/metrics`, and a path for each kind of connection."""

    def guarded(handler: Handler) -> Handler:
        async def guard(request: web.Request) -> web.StreamResponse:
            started = time.monotonic()
            response: web.StreamResponse | None = None
            try:
                doorkeeper.admit(request)
                with doorkeeper.counted():
                    response = await handler(request)
            except ShopError as error:
                status, headers, body = problem(error)
                response = web.Response(status=status, headers=headers, body=body)
            finally:
                _log(request, response, time.monotonic() - started)
            return response

        return guard

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        if await ready():
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready"}, status=503)

    async def counts(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    for path, handler in connections.items():
        app.router.add_get(path, guarded(handler), allow_head=False)
    app.router.add_get("/metrics", counts)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


def _log(request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
    """One line when a connection is over. The query stays out of it: there may be a token in it."""
    match response:
        case None:
            status: int | str | None = "gone"
        case web.WebSocketResponse():
            status = response.close_code
        case _:
            status = response.status
    facts = {"status": status, "ms": round(seconds * 1000, 1), "client": request.remote or ""}
    access_log.info("%s %s", request.method, request.path, extra=facts)


@asynccontextmanager
async def serving(
    app: web.Application,
    *,
    host: str,
    port: int,
    patience: float,
    unanswered: float,
    drain: Callable[[], None],
    tls: Tls | None = None,
) -> AsyncIterator[int]:
    """Serve until the block ends, and yield the port (a free one for port 0). With `tls`, HTTPS and WSS only.

    A connection on which no request has come, or none has been completed, is cut after `patience` seconds;
    one whose peer has acknowledged nothing for `unanswered` seconds is given up (RFC 5482), which is how the silent
    death of a client that never says anything, as on an event stream, is found.
    At the end nobody new is taken, `drain` tells those who are here to go, and they get a few seconds for it.
    """
    # Cancelling handlers is how an event stream learns that its client has gone.
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_DRAIN_SECONDS,
        keepalive_timeout=patience,
    )
    await runner.setup()
    try:
        listener = _listening(host, port, unanswered)
        site = web.SockSite(runner, listener, backlog=1024, ssl_context=tls.http_server() if tls else None)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await site.stop()
            drain()
    finally:
        await runner.cleanup()


def _listening(host: str, port: int, unanswered: float) -> socket.socket:
    """A socket whose connections inherit how long they wait for an acknowledgement."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms an answer) off only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # not everywhere
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unanswered * 1000))
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
