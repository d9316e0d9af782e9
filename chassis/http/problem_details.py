"""Errors over HTTP: RFC 9457 problem+json, from one table."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import nullcontext
from typing import Any

import orjson

from chassis.errors import Kind, ShopError
from chassis.http.requests import Refusal
from chassis.observability.capture.http import CapturedApplication
from chassis.observability.tracing import SpanKind, Telemetry, current_trace_id, current_traceparent

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
# Seconds for which the rest of what was refused is read, so that its client gets to see the answer.
_LINGER = 1.0
# Characters of what was asked for in a trace; a target may have 16 KiB.
_MAX_SHOWN = 200

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


class Refused:
    """ASGI: the refusal of what no application has seen, as a problem with ids to ask for, and a span if it can be one.

    The connection ends for the client at once and for us after a moment, in which what still comes is dropped: closing
    on bytes that nothing has read makes the system forget the answer.
    """

    def __init__(
        self,
        refusal: Refusal,
        transport: asyncio.Transport,
        telemetry: Telemetry | None,
        method: str = "",
        target: str = "",
    ) -> None:
        """`method` and `target` are empty where the head of the request was not read to its end."""
        self._refusal = refusal
        self._transport = transport
        self._telemetry = telemetry
        self._method = method
        self._target = target.partition("?")[0][:_MAX_SHOWN]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._span():
            answering = self._answer
            if self._telemetry is not None and self._telemetry.capture is not None:
                asked = {"method": self._method or "?", "path": self._target, "raw_path": self._target.encode()}
                await CapturedApplication(answering)({**scope, **asked}, receive, send)
            else:
                await answering(scope, receive, send)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        try:
            async with asyncio.timeout(_LINGER):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            log.debug("refused request: client did not close its connection")
            self._transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass

    def _span(self) -> Any:
        if self._telemetry is None:
            return nullcontext()
        return self._telemetry.span(
            f"{self._method} {self._target}" if self._method else "refused request",
            SpanKind.SERVER,
            protocol="HTTP",
            attributes={"http.response.status_code": self._refusal.status, "error.type": self._refusal.code},
        )

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI's shape
        refused = self._refusal
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        if self._telemetry is not None:
            traceparent = current_traceparent()
        error = ShopError(refused.code, refused.message, Kind.INVALID)
        _, headers, body = problem(error, status=refused.status, title=refused.title, trace_id=traceparent[3:35])
        headers |= refused.headers
        headers |= {
            "x-request-id": secrets.token_hex(16),
            "traceparent": traceparent,
            "content-length": str(len(body)),
            "connection": "close",
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refused.status, "headers": raw})
        await send({"type": "http.response.body", "body": body, "more_body": True})
