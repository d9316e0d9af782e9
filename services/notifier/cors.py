"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): pages read the event stream, and what is refused, too.

Which origins may is the same rule as for WebSockets (`chassis.http.origin_check`).
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from chassis.http.origin_check import origin_allowed

# What a page may send beside what every page may, and what it may read beside what every page may.
_SENT = "Authorization, Last-Event-ID, Cache-Control, X-Request-ID, traceparent"
_READ = "Retry-After, WWW-Authenticate, X-Request-ID, traceparent"
_MAX_AGE_SECONDS = "600"


def allow_pages(app: web.Application, paths: Sequence[str], allowed: Sequence[str]) -> None:
    """Let pages of the allowed origins, in which a port may be `*`, read every response, errors too.

    Browsers send a preflight before a token in a header; that is answered for `paths`.
    """

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        # Also for requests without an origin: a shared cache must not give their answer to a page (RFC 9110, 12.5.5).
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is not None and origin_allowed(origin, request.host, allowed):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _READ

    async def preflight(request: web.Request) -> web.Response:
        headers = {"Allow": "GET, OPTIONS"}
        if "Access-Control-Request-Method" in request.headers:
            headers |= {
                "Access-Control-Allow-Methods": "GET",
                "Access-Control-Allow-Headers": _SENT,
                "Access-Control-Max-Age": _MAX_AGE_SECONDS,
            }
        return web.Response(status=204, headers=headers)

    app.on_response_prepare.append(add_headers)
    for path in paths:
        app.router.add_route("OPTIONS", path, preflight)
