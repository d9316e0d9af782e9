"""Middleware of every HTTP server: request id, trace, deadline, access log, metrics.

Pure ASGI (20 us with all of it; a single BaseHTTPMiddleware costs 150).
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from chassis.errors import Kind, ShopError
from chassis.http.problem_details import problem
from chassis.observability import access_log
from chassis.observability.capture.http import CapturedApplication
from chassis.observability.capture.places import handler_place
from chassis.observability.tracing import Span, SpanKind, Telemetry, current_traceparent, unrecorded
from chassis.resilience.deadlines import begin_deadline

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
Application = Callable[[Scope, Receive, Send], Any]

log = logging.getLogger(__name__)

# Read every few seconds.
_QUIET = ("/healthz", "/readyz", "/metrics")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestObserver(Protocol):
    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is the template of the path ("/v1/products/{product_id}"); empty when none was found."""


class HttpBoundary:
    """Middleware: request id, server span, deadline, and access log."""

    def __init__(
        self,
        app: Application,
        telemetry: Telemetry,
        *,
        protocol_of: Callable[[str], str],
        budget: float | None = None,
        observer: RequestObserver | None = None,
    ) -> None:
        """`protocol_of` names the protocol that a path speaks; `budget` is a request's deadline in seconds.

        Requests for /healthz, /readyz and /metrics are answered with ids, but neither recorded nor logged nor measured.
        """
        self._app = app if telemetry.capture is None else CapturedApplication(app)
        self._telemetry = telemetry
        self._protocol_of = protocol_of
        self._budget = budget
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        if exchange.path in _QUIET:
            with unrecorded():
                await exchange.answered_by(self._app)
            return
        with self._telemetry.span(
            f"{exchange.method} {exchange.sent_path}",
            SpanKind.SERVER,
            protocol=self._protocol_of(exchange.path),
            parent=exchange.parent,
            attributes={"http.request.method": exchange.method, "url.path": exchange.sent_path},
        ) as span:
            # To the end of the request's own task.
            begin_deadline(self._budget)
            try:
                await exchange.answered_by(self._app)
            finally:
                self._record(exchange, span)

    def _record(self, exchange: _Exchange, span: Span) -> None:
        seconds = time.perf_counter() - exchange.started
        found = exchange.scope.get("route")
        route = found.path if found is not None else ""
        if span.is_recording():
            if route:
                span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", exchange.status)
            span.set_attribute("shop.bytes.received", exchange.received)
            span.set_attribute("shop.bytes.sent", exchange.sent)
            if self._telemetry.capture is not None and (endpoint := exchange.scope.get("endpoint")) is not None:
                span.set_attributes(handler_place(endpoint))
        if self._observer is not None:
            self._observer.request_done(exchange.method, route, exchange.status, seconds)
        if access_log.enabled():
            client = exchange.scope.get("client")
            access_log.write(
                process=self._telemetry.service,
                message=f"{exchange.method} {exchange.sent_path}",
                status=exchange.status,
                ms=round(seconds * 1000, 1),
                bytes=exchange.sent,
                client=client[0] if client else "",
                request_id=exchange.request_id.decode(),
                trace_id=exchange.traceparent[3:35].decode(),
            )


class Identified:
    """Gives each response a request id and a trace id, and records nothing.

    For servers that take the records of others, and for pages that are read every few seconds.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with unrecorded():
            await _Exchange(scope, receive, send).answered_by(self._app)


async def send_problem(send: Send, error: ShopError, *, headers: Mapping[str, str] | None = None) -> None:
    """Answer with an error as problem+json; `headers` are added to its own."""
    status, own, body = problem(error)
    own |= {"content-length": str(len(body)), **(headers or {})}
    raw_headers = [(name.encode(), value.encode()) for name, value in own.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": body})


def adding(headers: Sequence[tuple[bytes, bytes]], send: Send) -> Send:
    """Sends what it is given, with these headers besides."""

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_more


class _Exchange:
    """One request and its response, counted as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        # Encoded as it came: decoded, "%3F" would look like the beginning of a query.
        self.sent_path: str = scope.get("raw_path", b"").decode("ascii") or self.path
        self.request_id = b""
        self.parent = ""
        for name, value in scope["headers"]:
            # The client's request id if it is a harmless one.
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                self.request_id = value
            elif name == b"traceparent":
                self.parent = value.decode("latin-1")
        if not self.request_id:
            self.request_id = b"%032x" % random.getrandbits(128)  # nosec B311 # an id, which is no secret
        self.traceparent = b""
        self.status = 0
        self.received = 0
        self.sent = 0
        self.started = time.perf_counter()
        self._receive = receive
        self._send = send

    async def answered_by(self, app: Application) -> None:
        """Let an application answer, in the current trace."""
        self.traceparent = current_traceparent().encode()
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("HTTP request failed unexpectedly", extra={"path": self.path})
            await self._fail()

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

    async def _fail(self) -> None:
        """Answer 500 if nothing was answered yet, with no more detail than the trace's id."""
        if self.status:
            return  # the response has begun: all that is left is to break it off
        await send_problem(self.send, ShopError("INTERNAL", "internal error", Kind.INTERNAL))
