"""HTTP servers: uvicorn inside our own process life, with bounds on what comes before any application sees it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chassis import access_log
from chassis.errors import Kind, ShopError
from chassis.problems import problem
from chassis.tls import Tls

# A request's line and headers: bytes, and seconds that a client may take for them.
_MOST_HEAD_BYTES = 64 << 10
_HEAD_PATIENCE = 10.0


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with bounds on a request's head, and with problems for what never becomes a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes: int | None = 0
        self._late = self.loop.call_later(_HEAD_PATIENCE, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        if self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(431, "Request Header Fields Too Large", "HEAD_TOO_LARGE")
        elif self._late.cancelled():
            self._late = self.loop.call_later(_HEAD_PATIENCE, self.transport.close)

    def on_message_begin(self) -> None:
        # Of a second request in one packet the first bytes are not counted: it is one packet.
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        if not self._late.cancelled():
            self._late.cancel()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words, we have our own
        self._refuse(400, "Bad Request", "MALFORMED_REQUEST")

    def _refuse(self, status: int, title: str, code: str) -> None:
        _, headers, body = problem(ShopError(code, "this is not HTTP", Kind.INVALID), status=status, title=title)
        headers |= {
            "x-request-id": secrets.token_hex(16),
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00",
            "content-length": str(len(body)),
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {status} {title}\r\n{lines}\r\n".encode() + body)
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `chassis.process` has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_http(
    app: Any,
    *,
    host: str,
    port: int,
    drain: float = 5.0,
    tls: Tls | None = None,
    largest_websocket_message: int = 0,
) -> AsyncIterator[int]:
    """Serve an ASGI application until the block ends, and yield the port (a free one for port 0).

    With `tls` it speaks HTTPS only. WebSockets are served where the bytes of their largest message are told. At the end
    no new connection is taken and requests in flight get `drain` seconds.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="websockets-sansio" if largest_websocket_message else "none",
        ws_max_size=largest_websocket_message,
        # Deflating costs each connection memory of its own, and what is sent is small.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # It would believe what anybody on this machine says of where they are.
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(drain),
        limit_concurrency=2_000,
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
        listener.bind((host, port))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if serving.done():
                    serving.result()
                await asyncio.sleep(0.001)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
            access_log.flush()
