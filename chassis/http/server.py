"""HTTP servers: uvicorn inside our own process life, with bounds on what reaches an application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn

from chassis.auth.tls import Tls
from chassis.http.connections import Connections, connections_possible
from chassis.http.protocol import Protocol
from chassis.http.requests import SINGULAR
from chassis.http.websocket import WebSocket
from chassis.observability import access_log
from chassis.observability.tracing import Telemetry

log = logging.getLogger(__name__)

# Connections of one server, idle ones included, and requests at once.
_MAX_CONNECTIONS = 2_000
# Seconds in which a client has to take some of what is sent: more than any pause of one that reads.
_UNREAD_SECONDS = 60.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, for `chassis.process` has its own; it ends at once, not at its next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(super().main_loop())
            await self._ending.wait()
            ticking.cancel()

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()


def _cancellable(app: Any) -> Any:
    """ASGI: what is cancelled because the server stops is no error of the application, as uvicorn logs it."""

    async def calling(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise
            log.warning("HTTP request cancelled: server stopping", extra={"path": scope["path"]})

    return calling


@asynccontextmanager
async def serve_http(
    app: Any,
    *,
    host: str,
    port: int,
    drain: float = 5.0,
    tls: Tls | None = None,
    max_websocket_message: int = 0,
    max_connections: int = _MAX_CONNECTIONS,
    unread: float = _UNREAD_SECONDS,
    singular: Collection[bytes] = (),
    telemetry: Telemetry | None = None,
) -> AsyncIterator[int]:
    """Serve an ASGI application until the block ends, and yield the port (a free one for port 0).

    With `tls` it speaks HTTPS only. WebSockets are served where the size of their largest message in bytes is given. At
    the end no new connection is taken and requests in flight get `drain` seconds. `singular` names headers, in lower
    case, that may come once, besides those of HTTP itself. Of more than `max_connections` idle ones are closed; one
    whose client takes nothing of what is sent ends after `unread` seconds (on Linux). What is refused before the
    application sees it is recorded with `telemetry`.
    """
    protocol = partial(
        Protocol,
        open_connections=Connections(connections_possible(max_connections)),
        singular=SINGULAR.union(singular),
        telemetry=telemetry,
    )
    config = uvicorn.Config(
        _cancellable(app),
        http=protocol,  # type: ignore[arg-type]  # called like the class that it makes
        ws=WebSocket if max_websocket_message else "none",
        ws_max_size=max_websocket_message,
        # Longer than any client of ours lets its own client take nothing, while which it reads no pings.
        ws_ping_timeout=30,
        # Deflating costs each connection memory of its own, and what is sent is small.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # It would accept forwarded addresses from any program on this machine.
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(drain),
        # Else a request whose body made the connection pause leaves its identity and its deadline to the next one
        # on that connection (python/cpython#140947).
        reset_contextvars=True,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = _Server(config)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms an answer) off only where the protocol is named.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # not everywhere
            # Inherited by its connections: else a response lasts as long as the client that does not take it.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread * 1000))
        listener.bind((host, port))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if serving.done():
                    serving.result()
                await asyncio.sleep(0.001)
            yield listener.getsockname()[1]
        finally:
            server.end()
            await serving
            access_log.flush()
