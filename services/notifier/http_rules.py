"""The rules of HTTP on the notifier's port: aiohttp's parser, held to what the shop's other servers refuse."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.typedefs import Handler
from aiohttp.web_request import BaseRequest

from chassis.errors import Kind, ShopError
from chassis.http.connections import Connections, client_network, connections_possible
from chassis.http.problem_details import phrase, problem
from chassis.http.requests import (
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    METHODS,
    NOT_HTTP,
    TARGET_TOO_LONG,
    Refusal,
    has_body,
    head_size,
    refusal,
)
from chassis.observability.tracing import current_traceparent, unrecorded

log = logging.getLogger(__name__)

_WEBSOCKET_WITH_BODY = Refusal(
    400, "MALFORMED_REQUEST", "request to open a WebSocket must have no body (RFC 6455, section 4.1)"
)
# aiohttp's parser takes 128 header lines, and refuses more with these words alone.
_TOO_MANY_HEADERS = "Too many headers received"
_TOO_MANY_LINES = replace(HEAD_TOO_LARGE, message="request must have at most 128 header lines")
# Answered however much work there is.
_PROBES = frozenset({"/healthz", "/readyz"})
_OVERLOADED = ShopError(
    "OVERLOADED", "too many connections are open; try again later", Kind.UNAVAILABLE, retry_after=1.0
)


def problem_response(
    error: ShopError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error as problem+json with ids to look it up by; `headers` are added to its own."""
    with unrecorded():
        status, own, body = problem(error, status=status)
        ids = {"x-request-id": secrets.token_hex(16), "traceparent": current_traceparent()}
    return web.Response(status=status, reason=phrase(status), headers={**own, **ids, **(headers or {})}, body=body)


@web.middleware
async def http_rules(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse more than can be served, and answer aiohttp's own errors (no such path, no such method) with problems."""
    connection = request.protocol
    if request.path not in _PROBES and isinstance(connection, _Connection) and connection.overloaded:
        return problem_response(_OVERLOADED)
    if request.raw_path == "*":
        return web.Response(status=204, headers={"allow": METHODS})
    response = await _handled(request, handler)
    if "upgrade" in request.headers and not isinstance(response, web.WebSocketResponse):
        # aiohttp has dropped what came in one packet with it; the next bytes would be the middle of a request.
        response.force_close()
    return response


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        allow = {"allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        code = error.reason.upper().replace(" ", "_")
        kind = Kind.NOT_FOUND if error.status == 404 else Kind.INVALID
        shop_error = ShopError(code, f"{request.method} is not served at this path", kind)
        return problem_response(shop_error, status=error.status, headers=allow)


def _strictly(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """The application, called for what may be served: aiohttp itself judges `Expect` before any middleware."""

    async def handle(request: web.Request) -> web.StreamResponse:
        refused = _refusal(request)
        if refused is None:
            return await handler(request)
        if request.version not in (HttpVersion10, HttpVersion11):
            # The answer is in a version of ours (RFC 9110, section 15.6.6).
            request._cache["version"] = HttpVersion11  # noqa: SLF001  # it was read above, and is read from here
        return refused_response(refused)

    return handle


def _refusal(request: web.Request) -> Refusal | None:
    headers = [(name.lower(), value) for name, value in request.raw_headers]
    version = f"{request.version.major}.{request.version.minor}"
    refused = refusal(request.method, request.raw_path.encode("utf-8", "surrogateescape"), version, headers)
    if refused is None and head_size(b"", headers) > MAX_HEAD_BYTES:
        return HEAD_TOO_LARGE
    if refused is None and "upgrade" in request.headers and has_body(headers):
        websocket = request.headers["upgrade"].strip().lower() == "websocket"
        return _WEBSOCKET_WITH_BODY if websocket else None
    return refused


def refused_response(refused: Refusal) -> web.Response:
    """A refusal as problem+json; the connection ends with it."""
    log.info("request refused: %s", refused.message, extra={"code": refused.code})
    error = ShopError(refused.code, refused.message, Kind.INVALID)
    response = problem_response(error, status=refused.status, headers=refused.headers)
    response.force_close()
    return response


class StrictRunner(web.AppRunner):
    """aiohttp's runner, whose connections answer with problems what never becomes a request.

    Of more connections than a server keeps, idle ones are closed (`chassis.http.connections`).
    """

    def __init__(self, app: web.Application, *, max_connections: int, **arguments: Any) -> None:
        super().__init__(app, **arguments)
        self._connections = Connections(connections_possible(max_connections))

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            _strictly(made.request_handler),
            open_connections=self._connections,
            request_factory=partial(cast("Any", made.request_factory), _cls=_Request),
            loop=made._loop,  # noqa: SLF001  # what aiohttp's own runner has given it
            **made._kwargs,  # noqa: SLF001
        )


class _Request(web.Request):
    """aiohttp's, whose answers name no library and no version; also those to what never becomes a request."""

    async def _prepare_hook(self, resp: web.StreamResponse) -> None:
        await super()._prepare_hook(resp)
        resp.headers.pop("Server", None)


class _Server(web.Server):
    def __init__(self, handler: Any, *, open_connections: Connections, **arguments: Any) -> None:
        super().__init__(handler, **arguments)
        self._open_connections = open_connections

    def __call__(self) -> web.RequestHandler:
        connections = self._open_connections
        return _Connection(
            self, loop=self._loop, open_connections=connections, max_line_size=MAX_TARGET_BYTES, **self._kwargs
        )


class _Connection(web.RequestHandler):
    __slots__ = ("_address", "_open_connections")

    def __init__(self, manager: web.Server, *, open_connections: Connections, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self._open_connections = open_connections
        self._address = ""

    @property
    def overloaded(self) -> bool:
        """Whether more requests are under way than the server takes connections."""
        return self._open_connections.working > self._open_connections.limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = client_network(peer[0]) if peer else ""
        self._open_connections.opened(self, self._address, transport.abort)  # type: ignore[attr-defined]  # TCP's

    def connection_lost(self, exc: BaseException | None) -> None:
        self._open_connections.closed(self, self._address)
        super().connection_lost(exc)

    async def _handle_request(self, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        self._open_connections.begins(self, self._address)
        try:
            return await super()._handle_request(*arguments)
        finally:
            self._open_connections.rests(self, self._address)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or what a handler has failed at. The connection is closed in any case."""
        if isinstance(exc, LineTooLong):
            return refused_response(TARGET_TOO_LONG if exc.args[1] == MAX_TARGET_BYTES else HEAD_TOO_LARGE)
        if isinstance(exc, HttpProcessingError) and exc.message == _TOO_MANY_HEADERS:
            return refused_response(_TOO_MANY_LINES)
        if isinstance(exc, HttpProcessingError):
            return refused_response(NOT_HTTP)
        if isinstance(exc, ConnectionError):
            # The client has gone before its answer: no fault of ours, and no answer is needed.
            log.debug("client disconnected", extra={"reason": str(exc)})
        else:
            super().handle_error(request, status, exc, message)
        return problem_response(ShopError("INTERNAL", "internal error", Kind.INTERNAL))
