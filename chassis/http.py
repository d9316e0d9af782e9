"""What every HTTP request gets, whatever the framework behind: request id, trace, deadline, access log, measures.

Pure ASGI (20 us with all of it; a single BaseHTTPMiddleware costs 150).
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from chassis import access_log
from chassis.errors import Kind, ShopError
from chassis.http_server import serve_http
from chassis.problems import problem
from chassis.resilience import begin_deadline
from chassis.telemetry import Span, SpanKind, Telemetry, current_traceparent

__all__ = ["Application", "HttpBoundary", "Message", "Receive", "RequestObserver", "Scope", "Send", "serve_http"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
Application = Callable[[Scope, Receive, Send], Any]

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestObserver(Protocol):
    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is the template of the path ("/v1/products/{product_id}"); empty when none was found."""


class HttpBoundary:
    """What every HTTP request gets: a request id, a server span, a deadline, and a line in the access log."""

    def __init__(
        self,
        app: Application,
        telemetry: Telemetry,
        *,
        protocol_of: Callable[[str], str],
        budget: float | None = None,
        quiet: tuple[str, ...] = ("/healthz", "/readyz", "/metrics"),
        observer: RequestObserver | None = None,
    ) -> None:
        """`protocol_of` names the protocol that a path speaks; `budget` is a request's deadline in seconds.

        Requests for `quiet` paths are answered with ids, but neither recorded nor logged nor measured.
        """
        self._app = app
        self._telemetry = telemetry
        self._protocol_of = protocol_of
        self._budget = budget
        self._quiet = quiet
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        if exchange.path in self._quiet:
            exchange.traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00".encode()
            await self._answer(exchange)
            return
        with self._telemetry.span(
            f"{exchange.method} {exchange.path}",
            SpanKind.SERVER,
            protocol=self._protocol_of(exchange.path),
            parent=exchange.parent,
            attributes={"http.request.method": exchange.method, "url.path": exchange.path},
        ) as span:
            # To the end of the request's own task.
            begin_deadline(self._budget)
            exchange.traceparent = current_traceparent().encode()
            try:
                await self._answer(exchange)
            finally:
                self._tell(exchange, span)

    async def _answer(self, exchange: _Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("unexpected error", extra={"path": exchange.path})
            await exchange.fail()

    def _tell(self, exchange: _Exchange, span: Span) -> None:
        seconds = time.perf_counter() - exchange.started
        found = exchange.scope.get("route")
        route = found.path if found is not None else ""
        if span.is_recording():
            if route:
                span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", exchange.status)
            span.set_attribute("shop.bytes.received", exchange.received)
            span.set_attribute("shop.bytes.sent", exchange.sent)
        if self._observer is not None:
            self._observer.request_done(exchange.method, route, exchange.status, seconds)
        if access_log.wanted():
            client = exchange.scope.get("client")
            access_log.write(
                process=self._telemetry.service,
                message=f"{exchange.method} {exchange.path}",
                status=exchange.status,
                ms=round(seconds * 1000, 1),
                bytes=exchange.sent,
                client=client[0] if client else "",
                request_id=exchange.request_id.decode(),
                trace_id=exchange.traceparent[3:35].decode(),
            )


class _Exchange:
    """One request and its response, counted as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.request_id = b""
        self.parent = ""
        for name, value in scope["headers"]:
            # The client's request id if it is a harmless one.
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                self.request_id = value
            elif name == b"traceparent":
                self.parent = value.decode("latin-1")
        if not self.request_id:
            self.request_id = b"%032x" % random.getrandbits(128)
        self.traceparent = b""
        self.status = 0
        self.received = 0
        self.sent = 0
        self.started = time.perf_counter()
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message: Message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self.request_id),
                (b"traceparent", self.traceparent),
            ]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def fail(self) -> None:
        """Answer 500 if nothing was answered yet, telling no more than the trace's id."""
        if self.status:
            return  # the response has begun: all that is left is to break it off
        status, headers, body = problem(ShopError("INTERNAL", "internal error", Kind.INTERNAL))
        raw_headers = [(key.encode(), value.encode()) for key, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw_headers})
        await self.send({"type": "http.response.body", "body": body})
