"""Starlette applications with RFC 9457 problems for every refusal, and without redirects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from chassis.errors import Kind, ShopError
from chassis.http.problem_details import problem
from chassis.webpages.start_page import StartPage

ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


def http_app(routes: Sequence[BaseRoute], errors: Mapping[Any, ErrorHandler] | None = None) -> Starlette:
    """The application; `errors` answers exceptions of its own.

    What else goes wrong becomes a problem: no such path, no such method, an error of ours, an unexpected one.
    """
    handlers = {**dict.fromkeys((ShopError, HTTPException, Exception), problem_response), **(errors or {})}
    app = Starlette(routes=list(routes), exception_handlers=handlers)
    # A redirect to the path with or without its last slash would lead to whatever host the request names.
    app.router.redirect_slashes = False
    return app


def start_route(page: StartPage) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a start page."""

    async def start(request: Request) -> Response:
        headers = request.headers
        answer = page.answer(accept=headers.get("accept", ""), host=headers.get("host", ""), scheme=request.url.scheme)
        return Response(answer.body, headers=answer.headers)

    return start


async def problem_response(request: Request, error: Exception) -> Response:
    """An error as problem+json: ours, Starlette's own (no such path, no such method), or an unexpected one."""
    match error:
        case ShopError():
            status, headers, body = problem(error)
        case HTTPException(status_code=code, detail=detail):
            refused = ShopError(detail.upper().replace(" ", "_"), detail, Kind.NOT_FOUND)
            status, headers, body = problem(refused, status=code)
            if code == 405:
                headers["allow"] = ", ".join(sorted(methods_of(request)))
        case _:
            status, headers, body = problem(ShopError("INTERNAL", "internal error", Kind.INTERNAL))
    return Response(body, status, headers)


def methods_of(request: Request) -> set[str]:
    """The methods that a path allows. Starlette names those of the first route with the path."""
    path = request.scope["path"]
    found = (route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(path))
    return {method for route in found for method in route.methods or ()}
