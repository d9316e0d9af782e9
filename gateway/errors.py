"""Errors of the gateway: problem+json (RFC 9457) that reveals nothing internal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chassis.errors import Kind, ShopError, invalid
from chassis.http.app import methods_of
from chassis.http.problem_details import problem
from chassis.observability.tracing import current_trace_id

log = logging.getLogger(__name__)


def answer(error: ShopError) -> Response:
    """The response to an error. An internal error is logged, and the client gets no more than the trace's id."""
    if error.code == "UPSTREAM_RESOURCE_EXHAUSTED":
        # From gRPC itself: the upstream is full. That is no fault of this client's, so it is no 429.
        error = ShopError("UPSTREAM_UNAVAILABLE", "an upstream is overloaded", Kind.UNAVAILABLE, retry_after=1.0)
    elif error.kind is Kind.INTERNAL:
        log.error("HTTP request failed: %s; trace %s", error, current_trace_id())
        error = ShopError("INTERNAL", "internal error", Kind.INTERNAL)
    status, headers, body = problem(error)
    if error.code == "UNSUPPORTED_MEDIA_TYPE":
        # What would be taken: "accept" and "accept-encoding".
        headers |= {name.replace("_", "-"): value for name, value in error.details.items()}
    if error.code == "RANGE_NOT_SATISFIABLE":
        headers["content-range"] = f"bytes */{error.details['size']}"
    return Response(body, status, headers)


def body_too_large(limit: int) -> ShopError:
    return ShopError("BODY_TOO_LARGE", f"body must have at most {limit} bytes", Kind.INVALID)


async def _shop_error(_: Request, error: ShopError) -> Response:
    return answer(error)


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    problems = error.errors()
    content_type = request.headers.get("content-type", "")
    # A body that is not declared as JSON reaches the model as bytes, or not at all.
    if any(tuple(found["loc"]) == ("body",) for found in problems) and not _is_json(content_type):
        return answer(_unsupported(content_type))
    fields = {field_path(found["loc"], found["type"]): _reason(found) for found in problems}
    return answer(invalid("the request has invalid fields", **fields))


async def _http_exception(request: Request, error: HTTPException) -> Response:
    """The framework's own refusals as problems."""
    if error.status_code != 405:
        return answer(_framework_error(error))
    methods = methods_of(request)
    allow = ", ".join(sorted(methods | ({"HEAD", "OPTIONS"} if "GET" in methods else {"OPTIONS"})))
    if request.method == "OPTIONS":
        return Response(None, 204, {"allow": allow, "cache-control": "no-store"})
    response = answer(_framework_error(error))
    response.headers["allow"] = allow
    return response


async def _client_gone(_: Request, __: Exception) -> Response:
    # The client is gone; the number is what access logs have come to use.
    return Response(None, 499)


async def _unexpected(_: Request, error: Exception) -> Response:
    return answer(ShopError("INTERNAL", repr(error), Kind.INTERNAL))


def _framework_error(error: HTTPException) -> ShopError:
    match error.status_code:
        case 400:
            return invalid("the body must be well-formed, in the type of its Content-Type", body="is malformed")
        case 404:
            return ShopError("NOT_FOUND", "no such resource", Kind.NOT_FOUND)
        case 405:
            return ShopError("METHOD_NOT_ALLOWED", "method not allowed: use one from the Allow header", Kind.INVALID)
        case 408:
            return ShopError("UPLOAD_STALLED", error.detail, Kind.TIMEOUT)
        case 413:
            return ShopError("BODY_TOO_LARGE", error.detail, Kind.INVALID)
        case status:
            return ShopError("INTERNAL", f"the framework answered {status}: {error.detail}", Kind.INTERNAL)


def _unsupported(content_type: str) -> ShopError:
    message = f"the body must be application/json, not {content_type or 'without a Content-Type'}"
    return ShopError("UNSUPPORTED_MEDIA_TYPE", message, Kind.INVALID, accept="application/json")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def field_path(location: Sequence[str | int], problem_type: str = "") -> str:
    """Path in the input: ("body", "items", 0, "quantity") is "items[0].quantity"."""
    if problem_type == "json_invalid":
        return "body"
    path = ""
    for part in location[1:] or location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _reason(found: Mapping[str, Any]) -> str:
    if found["type"] == "json_invalid":
        return f"is not JSON: {found['ctx']['error']} at character {found['loc'][-1]}"
    return str(found["msg"])


# What the application answers with the table, whichever layer raised it.
HANDLERS: Mapping[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ShopError: _shop_error,
    RequestValidationError: _validation_error,
    HTTPException: _http_exception,
    ClientDisconnect: _client_gone,
    Exception: _unexpected,
}
