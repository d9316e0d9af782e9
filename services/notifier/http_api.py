"""The notifier's port: WebSocket, SSE and health, served by aiohttp."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from chassis.auth.tls import Tls
from chassis.errors import ShopError
from chassis.webpages.start_page import Link, StartPage
from services.notifier.auth import Authenticator
from services.notifier.cors import allow_pages
from services.notifier.http_rules import StrictRunner, http_rules, problem_response

access_log = logging.getLogger("access")

_DRAIN_SECONDS = 6.0

ABOUT = "Events to browsers and programs as they happen. A client that was away resumes where it was, at any copy."
LINKS = (
    Link("", "WebSocket /notifications", "both ways; sign in by a header, or the subprotocol bearer.TOKEN"),
    Link("", "SSE /notifications/stream", "one way; resumes by Last-Event-ID"),
    Link("/metrics", "/metrics", "for Prometheus"),
    Link("/healthz", "/healthz", "whether the process is alive"),
    Link("/readyz", "/readyz", "whether it can take clients"),
)
EXAMPLE = """shop events tail
curl -N localhost:8001/notifications/stream -H "Authorization: Bearer $(shop token demo@shop.test)\""""


def application(
    authenticator: Authenticator,
    connections: Mapping[str, Handler],
    *,
    allowed_origins: Sequence[str],
    trouble: Callable[[], Awaitable[str]],
    metrics: Callable[[str], tuple[str, bytes]],
    start: StartPage,
) -> web.Application:
    """A start page, `/healthz`, `/readyz`, `/metrics`, and a path for each kind of connection.

    Pages of the allowed origins may use these. `trouble` returns why the process cannot serve, or nothing while it can.
    """

    def guarded(handler: Handler) -> Handler:
        async def guard(request: web.Request) -> web.StreamResponse:
            started = time.monotonic()
            response: web.StreamResponse | None = None
            try:
                authenticator.admit(request)
                with authenticator.clients:
                    response = await handler(request)
            except ShopError as error:
                response = problem_response(error)
            finally:
                _log(request, response, time.monotonic() - started)
            return response

        return guard

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        if reason := await trouble():
            return web.json_response({"status": "not ready", "reason": reason}, status=503)
        return web.json_response({"status": "ready"})

    async def counts(request: web.Request) -> web.Response:
        content_type, content = metrics(request.headers.get("Accept", ""))
        return web.Response(body=content, headers={"Content-Type": content_type})

    async def start_page(request: web.Request) -> web.Response:
        answer = start.answer(accept=request.headers.get("Accept", ""), host=request.host, scheme=request.scheme)
        return web.Response(body=answer.body, headers=answer.headers)

    app = web.Application(middlewares=[http_rules])
    for path, handler in connections.items():
        app.router.add_get(path, guarded(handler), allow_head=False)
    allow_pages(app, tuple(connections), allowed_origins)
    app.router.add_get("/", start_page)
    app.router.add_get("/metrics", counts)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


def _log(request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
    """One line when a connection is over. The query stays out of it: there may be a token in it."""
    status: int | str | None = "gone" if response is None else response.status
    if isinstance(response, web.WebSocketResponse):
        status = response.close_code
    facts = {"status": status, "ms": round(seconds * 1000, 1), "client": request.remote or ""}
    access_log.info("%s %s", request.method, request.path, extra=facts)


@asynccontextmanager
async def serving(
    app: web.Application,
    *,
    host: str,
    port: int,
    timeout: float,
    unanswered: float,
    max_connections: int,
    drain: Callable[[], None],
    tls: Tls | None = None,
) -> AsyncIterator[int]:
    """Serve until the block ends, and yield the port (a free one for port 0). With `tls`, HTTPS and WSS only.

    A connection on which no request has come, or none has been completed, is cut after `timeout` seconds;
    one whose peer has acknowledged nothing for `unanswered` seconds is given up (RFC 5482), which is how the silent
    death of a client that never sends anything, as on an event stream, is found.
    Of more than `max_connections` idle ones are closed, those of the address with the most first.
    At the end no new one is taken, `drain` sends the open ones a close, and they get a few seconds for it.
    """
    # Cancelling handlers ends an event stream whose client has gone.
    runner = StrictRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_DRAIN_SECONDS,
        keepalive_timeout=timeout,
        max_connections=max_connections,
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
