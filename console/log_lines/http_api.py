"""Log lines over HTTP: OTLP in (`POST /v1/logs`), a trace's or an order's lines out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import not_found
from console.domain import Span, Trace, rfc3339
from console.hops import Hop, hops
from console.json_response import json_response
from console.log_lines.causal import in_causal_order
from console.log_lines.otlp_logs import accepted, lines_of
from console.log_lines.store import Line, LineStore
from console.otlp.exports import PROTOBUF, export_of
from console.store import TraceStore


def line_routes(
    store: TraceStore, lines: LineStore, max_body: int, trace_of: Callable[[str], Trace | None]
) -> list[Route]:
    """`/v1/logs`, and the lines of a trace and of an order; `trace_of` finds the trace in which one was placed.

    `max_body` bounds an export in bytes, on the wire and unpacked.
    """

    async def receive(request: Request) -> Response:
        """OTLP/HTTP in its binary encoding (OTLP specification 1.x, section OTLP/HTTP)."""
        refused = lines.add(lines_of(await export_of(request, ExportLogsServiceRequest, max_body)))
        return Response(accepted(refused), media_type=PROTOBUF)

    async def of_trace(request: Request) -> Response:
        """A trace's lines in causal order; none for one that has none."""
        return shown(request.path_params["trace_id"].lower())

    async def of_order(request: Request) -> Response:
        """The lines of the trace in which an order was placed."""
        order_id: str = request.path_params["order_id"]
        trace = trace_of(order_id)
        if trace is None:
            raise not_found("trace of order", order_id)
        return shown(trace.trace_id)

    def shown(trace_id: str) -> Response:
        trace = store.get(trace_id)
        spans = {} if trace is None else trace.spans
        ids = _hop_ids(hops(spans.values()))
        found = in_causal_order(lines.of(trace_id), spans)
        items = [_line_json(line, _hop_of(line.span_id, ids, spans)) for line in found]
        return json_response({"trace_id": trace_id, "items": items})

    return [
        Route("/v1/logs", receive, methods=["POST"]),
        Route("/api/traces/{trace_id}/logs", of_trace),
        Route("/api/orders/{order_id}/logs", of_order),
    ]


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
    return {
        "number": line.number,
        "time": rfc3339(line.at_ns, "milliseconds"),
        "service": line.service,
        "level": line.level,
        "message": line.message,
        "attributes": line.attributes,
        "span_id": line.span_id,
        "hop": hop,
    }
