"""Requests and responses over HTTP: those of ASGI applications, of our own client, and of aiohttp and httpx."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from chassis.observability.capture import capture
from chassis.observability.capture.messages import LOOKED_AT_BYTES, Form, Message, http_request, http_response
from chassis.observability.tracing import Span, Telemetry, current_span

if TYPE_CHECKING:
    import aiohttp
    import httpx

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Any], Callable[[Any], Any]], Any]


class CapturedApplication:
    """ASGI: keeps each request and its response with the span that they are in."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        span = current_span()
        if scope["type"] != "http" or not span.is_recording():
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.keep(span)


class _Exchange:
    def __init__(self, scope: Scope, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request = _Body(scope["headers"])
        self._head: Mapping[str, Any] | None = None
        self._response = _Body(())

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            self._request.add(message.get("body", b""))
        return message

    async def send(self, message: Any) -> None:
        # Afterwards: on its way out a head gets more lines.
        await self._send(message)
        if message["type"] == "http.response.start":
            self._head = message
            self._response = _Body(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._response.add(message.get("body", b""))

    def keep(self, span: Span) -> None:
        scope, version = self._scope, self._scope.get("http_version", "1.1")
        target = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        if query := scope.get("query_string"):
            target += "?" + query.decode("latin-1")
        head = http_request(scope["method"], target, version, scope["headers"])
        capture.received(span, self._request.message(Form.HTTP_REQUEST, head))
        if self._head is not None:
            status = self._head["status"]
            head = http_response(status, _reason(status), version, self._head.get("headers", ()))
            capture.sent(span, self._response.message(Form.HTTP_RESPONSE, head))


class _Body:
    """The beginning of a body, and its size. Nothing of a compressed one: secrets cannot be seen in it."""

    def __init__(self, headers: Any) -> None:
        named = {name.lower(): value for name, value in headers}
        self._content_type = named.get(b"content-type", b"").decode("latin-1")
        self._readable = named.get(b"content-encoding", b"identity").decode("latin-1").lower() in ("identity", "")
        self._kept = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._readable and len(self._kept) < LOOKED_AT_BYTES:
            self._kept += data[: LOOKED_AT_BYTES - len(self._kept)]

    def message(self, form: Form, head: bytes) -> Message:
        return Message(form, head + self._kept, len(head) + self._size, self._content_type)


def request_message(
    method: str, target: str, version: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> Message:
    """A request whose body is there as a whole."""
    return _whole(Form.HTTP_REQUEST, http_request(method, target, version, headers), headers, body)


def response_message(
    status: int, reason: str, version: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> Message:
    """A response whose body is there as a whole."""
    return _whole(Form.HTTP_RESPONSE, http_response(status, reason, version, headers), headers, body)


def _whole(form: Form, head: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Message:
    kept = _Body(headers)
    kept.add(body)
    return kept.message(form, head)


def keep_request(span: Span, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
    """Keep a request of our own client."""
    capture.sent(span, request_message(method, target, "1.1", headers, body))


def keep_response(
    span: Span, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, unread: int = 0
) -> None:
    """Keep the response to it; `unread` bytes of its body follow those that are given."""
    message = response_message(status, _reason(status), "1.1", headers, body)
    capture.received(span, replace(message, size=message.size + unread))


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def aiohttp_middlewares(
    telemetry: Telemetry, *, secret_targets: bool = False
) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Middlewares of a session that keep each request with the span that it is sent in.

    `secret_targets`: the paths of its addresses are others' business, as some carry a secret.
    """
    return () if telemetry.capture is None else (partial(_keep_request, secret_target=secret_targets),)


async def _keep_request(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    *,
    secret_target: bool,
) -> aiohttp.ClientResponse:
    headers = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in request.headers.items()]
    version = "{}.{}".format(*request.version)
    target = request.url.raw_path_qs
    if secret_target:
        target = "/" + "*" * (len(target) - 1)
    # What is sent as a stream passes only once.
    body = getattr(request.body, "_value", b"")
    body = body if isinstance(body, bytes) else b""
    capture.sent(current_span(), request_message(request.method, target, version, headers, body))
    return await handler(request)


def keep_aiohttp_response(span: Span, response: aiohttp.ClientResponse, body: bytes) -> None:
    """Keep an answer, with as much of its body as was read."""
    version = "{}.{}".format(*response.version) if response.version else "1.1"
    message = response_message(response.status, response.reason or "", version, response.raw_headers, body)
    capture.received(span, message)


def httpx_hooks(telemetry: Telemetry) -> dict[str, list[Callable[..., Any]]]:
    """Hooks of a client that keep each request and its response with the span that they are in."""
    return {} if telemetry.capture is None else {"request": [_httpx_request], "response": [_httpx_response]}


async def _httpx_request(request: httpx.Request) -> None:
    target = request.url.raw_path.decode("ascii")
    capture.sent(current_span(), request_message(request.method, target, "1.1", request.headers.raw, request.content))


async def _httpx_response(response: httpx.Response) -> None:
    version = response.http_version.removeprefix("HTTP/")
    head = (response.status_code, response.reason_phrase, version, response.headers.raw)
    capture.received(current_span(), response_message(*head, await response.aread()))
