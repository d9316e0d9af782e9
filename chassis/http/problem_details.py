"""Errors over HTTP: RFC 9457 problem+json."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

from chassis.errors import HTTP_STATUSES, ShopError
from chassis.observability.tracing import current_trace_id

PROBLEM = "application/problem+json"

# Where Python 3.11 has an older one than RFC 9110.
_PHRASES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def phrase(status: int) -> str:
    """The reason phrase of a status, which is the title of its problem."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def problem(error: ShopError, *, status: int | None = None, trace_id: str = "") -> tuple[int, dict[str, str], bytes]:
    """An error as RFC 9457 problem+json: status, headers, body.

    `status` overrides that of `chassis.errors`; `trace_id` is for what is answered outside any span.
    """
    status = status or HTTP_STATUSES.get(error.code) or error.kind.http_status
    body: dict[str, Any] = {
        "type": f"https://shop.test/problems/{error.code.lower().replace('_', '-')}",
        "title": phrase(status),
        "status": status,
        "detail": error.message,
        "code": error.code,
        "trace_id": trace_id or current_trace_id(),
    }
    if error.fields:
        body["errors"] = [{"field": field, "detail": why} for field, why in error.fields.items()]
    headers = {"content-type": PROBLEM, "cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if status == 401:
        reason = ', error="invalid_token"' if error.code == "INVALID_TOKEN" else ""
        headers["www-authenticate"] = f'Bearer realm="shop"{reason}'
    return status, headers, orjson.dumps(body)
