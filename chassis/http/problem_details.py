"""Errors over HTTP: RFC 9457 problem+json, from one table."""

from __future__ import annotations

from typing import Any

import orjson

from chassis.errors import Kind, ShopError
from chassis.observability.tracing import current_trace_id

PROBLEM = "application/problem+json"

# The one table of HTTP's side (RFC 9110 status, RFC 9457 title).
STATUS_OF = {
    Kind.INVALID: (422, "Unprocessable Content"),
    Kind.UNAUTHENTICATED: (401, "Unauthorized"),
    Kind.FORBIDDEN: (403, "Forbidden"),
    Kind.NOT_FOUND: (404, "Not Found"),
    Kind.CONFLICT: (409, "Conflict"),
    Kind.PRECONDITION: (409, "Conflict"),
    Kind.EXHAUSTED: (429, "Too Many Requests"),
    Kind.UNAVAILABLE: (503, "Service Unavailable"),
    Kind.TIMEOUT: (504, "Gateway Timeout"),
    Kind.INTERNAL: (500, "Internal Server Error"),
}


def problem(
    error: ShopError, *, status: int | None = None, title: str | None = None, trace_id: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """An error as RFC 9457 problem+json: status, headers, body.

    `status` and `title` override the table's; `trace_id` is for what is answered outside any span.
    """
    table_status, table_title = STATUS_OF[error.kind]
    status, title = status or table_status, title or table_title
    body: dict[str, Any] = {
        "type": f"https://shop.test/problems/{error.code.lower().replace('_', '-')}",
        "title": title,
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
