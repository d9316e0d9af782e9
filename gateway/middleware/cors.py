"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol) for the origins of a setting."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from chassis.errors import Kind, ShopError
from chassis.http.middleware import Application, Receive, Scope, Send, adding
from chassis.http.origin_check import origin_allowed, origin_listed
from gateway.errors import answer

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SENT = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Range",
    "Repr-Digest",
    # Of an agent that is a web page.
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
)
_READ = (
    "ETag",
    "Location",
    "Idempotency-Replayed",
    "Preference-Applied",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Request-ID",
    "traceparent",
    "Content-Range",
    "Repr-Digest",
    "WWW-Authenticate",
)


class _Cors(CORSMiddleware):
    """Starlette's CORS, by the same reading of the settings as everywhere else: a port may be `*`."""

    def is_allowed_origin(self, origin: str) -> bool:
        return origin_listed(origin, self.allow_origins)

    async def simple_response(self, scope: Scope, receive: Receive, send: Send, request_headers: Headers) -> None:
        if "origin" in request_headers:
            await super().simple_response(scope, receive, send, request_headers)
            return

        # No page's request: CORS adds only that another one might get another answer.
        await self.app(scope, receive, adding([(b"vary", b"Origin")], send))


def allow_origins(app: Application, origins: Sequence[str]) -> Application:
    """Let pages of these origins (see `chassis.http.origin_check`) call us. Tokens are sent by them, never cookies."""
    return _Cors(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=(*_SENT, "X-Request-ID", "traceparent"),
        expose_headers=_READ,
        max_age=600,
    )


class OriginCheck:
    """Pure ASGI for WebSockets, to which CORS does not apply: a page of another origin is a 403 before the upgrade."""

    def __init__(self, app: Application, allowed: Sequence[str]) -> None:
        """`allowed` origins, besides the gateway's own host; the port may be `*`."""
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"origin", b"host")}
        app = self._app
        if not origin_allowed(headers.get(b"origin"), headers.get(b"host", ""), self._allowed):
            app = answer(ShopError("FOREIGN_ORIGIN", "pages of this origin may not connect", Kind.FORBIDDEN))
        await app(scope, receive, send)
