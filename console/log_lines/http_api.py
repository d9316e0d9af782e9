"""Log lines over HTTP: OTLP in (`POST /v1/logs`), a trace's or an order's lines out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import not_found
from console.domain import Span, Trace
from console.hops import Hop, hops
from console.json_response import json_response
from console.log_lines.causal import in_causal_order
from console.log_lines.otlp_logs import accepted, lines_of
from console.log_lines.store import Line, LineStore
from console.store import TraceStore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The body of an export, unpacked; refused with a response of its own.
Body = Callable[[Request], Awaitable[bytes | Response]]


class LinesApi:
    """`body` reads an export; `trace_of` finds the trace in which an order was placed."""

    def __init__(
        self, store: TraceStore, lines: LineStore, body: Body, trace_of: Callable[[str], Trace | None]
    ) -> None:
        self._store = store
        self._lines = lines
        self._body = body
        self._trace_of = trace_of

    def routes(self) -> list[Route]:
        return [
            Route("/v1/logs", self.receive, methods=["POST"]),
            Route("/api/traces/{trace_id}/logs", self.of_trace),
            Route("/api/orders/{order_id}/logs", self.of_order),
        ]

    async def receive(self, request: Request) -> Response:
        """OTLP/HTTP in its binary encoding (OTLP specification 1.x, section OTLP/HTTP)."""
        body = await self._body(request)
        if isinstance(body, Response):
            return body
        return Response(accepted(self._lines.add(lines_of(body))), media_type="application/x-protobuf")

    async def of_trace(self, request: Request) -> Response:
        """A trace's lines in causal order; none for one that has none."""
        trace_id: str = request.path_params["trace_id"].lower()
        return self._lines_of(trace_id)

    async def of_order(self, request: Request) -> Response:
        """The lines of the trace in which an order was placed."""
        order_id: str = request.path_params["order_id"]
        trace = self._trace_of(order_id)
        if trace is None:
            raise not_found("trace of order", order_id)
        return self._lines_of(trace.trace_id)

    def _lines_of(self, trace_id: str) -> Response:
        trace = self._store.get(trace_id)
        spans = {} if trace is None else trace.spans
        ids = _hop_ids(hops(spans.values()))
        items = [
            _line_json(line, _hop_of(line.span_id, ids, spans))
            for line in in_causal_order(self._lines.of(trace_id), spans)
        ]
        return json_response({"trace_id": trace_id, "items": items})


def _hop_ids(found: Sequence[Hop]) -> dict[str, str]:
    """The hop by each of its spans' ids; a message's are both in its id."""
    return {span_id: hop.id for hop in reversed(found) for span_id in (*hop.id.split("-"), hop.span_id)}


def _hop_of(span_id: str, ids: Mapping[str, str], spans: Mapping[str, Span]) -> str | None:
    """The hop in whose work a line was written: that of its span, or of the nearest span around it."""
    seen: set[str] = set()
    while span_id not in ids:
        if span_id in seen or span_id not in spans:
            return None
        seen.add(span_id)
        span_id = spans[span_id].parent_id
    return ids[span_id]


def _line_json(line: Line, hop: str | None) -> dict[str, Any]:
    time = _EPOCH + timedelta(microseconds=line.at_ns // 1_000)
    return {
        "number": line.number,
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "service": line.service,
        "level": line.level,
        "message": line.message,
        "attributes": line.attributes,
        "span_id": line.span_id,
        "hop": hop,
    }
