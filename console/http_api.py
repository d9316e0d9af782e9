"""The console over HTTP: OTLP in (`POST /v1/traces`), traces out (`/api/traces`)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chassis.errors import invalid, not_found
from chassis.http.app import http_app
from chassis.webpages import html
from console.domain import NS_PER_MS, Span, Trace, rfc3339
from console.hop_json import hop_json
from console.hops import hops
from console.json_response import json_response
from console.log_lines.http_api import line_routes
from console.log_lines.store import LineStore
from console.otlp.exports import PROTOBUF, ExportRefusedError, answer_refusal, body_of, export_of
from console.otlp.spans import accepted, spans_of
from console.otlp.trace_json import otlp_json
from console.play.call import Call
from console.play.player import Play
from console.store import TraceStore
from console.views.audit import Audits
from console.views.breaking import Breaking, break_routes
from console.views.compare import compare
from console.views.development import allowed, check_json
from console.views.lessons import Lessons, lesson_routes
from console.views.link_tap import LinkTap, tap_routes
from console.views.live import events
from console.views.page_files import page_routes
from console.views.topology import topology
from console.views.traces_page import traces_page
from console.views.traffic import TrafficHistory

DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000
_LIMIT = re.compile("[1-9][0-9]{0,3}")
_MINUTES = re.compile("[0-9]|1[0-5]")


@dataclass(frozen=True, slots=True)
class Development:
    """The parts that exist in development only; elsewhere all are None, and the page only shows.

    `play` makes the page's calls, `audits` judge all orders.
    """

    play: Play | None = None
    audits: Audits | None = None
    lessons: Lessons | None = None
    breaking: Breaking | None = None
    tap: LinkTap | None = None


class ConsoleApi:
    """`max_body` bounds an export in bytes, on the wire and unpacked."""

    def __init__(self, store: TraceStore, *, max_body: int, development: Development) -> None:
        self._store = store
        self._max_body = max_body
        self._development = development
        self._traffic = TrafficHistory(store)

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/traces", self.receive, methods=["POST"]),
            Route("/api/traces", self.list_traces),
            Route("/api/traces/{trace_id}", self.show_trace),
            Route("/api/traces/{trace_id}/hops", self.show_hops),
            Route("/api/traces/{trace_id}/events", self.stream),
            Route("/api/traces/{trace_id}/otlp", self.export_otlp),
            Route("/api/orders/{order_id}/xray", self.show_order),
            Route("/api/compare", self.compare, methods=["POST"]),
            Route("/api/topology", self.map),
            Route("/api/play", self.play, methods=["POST"]),
            *line_routes(self._store, LineStore(), self._max_body, self._of_order),
            Route("/api/audit", self.audit, methods=["POST"]),
            *lesson_routes(self._development.lessons),
            *break_routes(self._development.breaking),
            *tap_routes(self._store, self._development.tap),
            *page_routes(),
            Route("/healthz", _healthy),
            Route("/readyz", _healthy),
        ]
        return http_app(routes, {ExportRefusedError: answer_refusal})

    async def receive(self, request: Request) -> Response:
        """OTLP/HTTP in its binary encoding (OTLP specification 1.x, section OTLP/HTTP)."""
        spans, unidentified = spans_of(await export_of(request, ExportTraceServiceRequest, self._max_body))
        response = accepted(unidentified, self._store.add(spans))
        return Response(response.SerializeToString(), media_type=PROTOBUF)

    async def list_traces(self, request: Request) -> Response:
        """The newest traces, `limit` of them (1-1,000, 50), of one order if `order_id` names it.

        A browser gets a page that leads to each one's X-ray.
        """
        limit = request.query_params.get("limit", str(DEFAULT_LIMIT))
        if not (_LIMIT.fullmatch(limit) and int(limit) <= MAX_LIMIT):
            raise invalid("invalid query parameter", limit=f"must be a number from 1 to {MAX_LIMIT}")
        found = self._store.newest(int(limit), order_id=request.query_params.get("order_id", ""))
        if html.accepts_html(request.headers.get("accept", "")):
            return Response(traces_page(found), headers=html.HEADERS, media_type=html.MEDIA_TYPE)
        return json_response({"items": [summary(trace) for trace in found]})

    async def show_trace(self, request: Request) -> Response:
        """A trace with all its spans, by start, and its hops, in order."""
        trace = self._trace(request)
        spans = [span_json(span, trace) for span in trace.in_order()]
        return json_response({**summary(trace), "spans": spans, "hops": _hops(trace)})

    async def show_hops(self, request: Request) -> Response:
        """A trace as its hops, in order."""
        trace = self._trace(request)
        return json_response({**summary(trace), "hops": _hops(trace)})

    async def stream(self, request: Request) -> Response:
        """A trace while it grows, as server-sent events; it need not have begun."""
        trace_id: str = request.path_params["trace_id"].lower()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(events(self._store, trace_id), media_type="text/event-stream", headers=headers)

    async def export_otlp(self, request: Request) -> Response:
        """A trace in OTLP's JSON encoding, for any tool that reads it."""
        return json_response(otlp_json(self._trace(request)))

    async def show_order(self, request: Request) -> Response:
        """The trace in which an order was placed, as its hops, in order; without their bytes for `wire=false`."""
        order_id: str = request.path_params["order_id"]
        trace = self._of_order(order_id)
        if trace is None:
            raise not_found("trace of order", order_id)
        found = _hops(trace)
        if request.query_params.get("wire") == "false":
            found = [{name: value for name, value in hop.items() if name not in ("wire", "decoded")} for hop in found]
        return json_response({**summary(trace), "hops": found})

    async def compare(self, request: Request) -> Response:
        """Two traces, each named by its id or by its order's: their hops, row by row."""
        try:
            wanted = orjson.loads(await self._body(request))
        except orjson.JSONDecodeError as error:
            raise invalid("the body must be JSON") from error
        sides = wanted if isinstance(wanted, dict) else {}
        left, right = self._named(sides.get("left")), self._named(sides.get("right"))
        return json_response(
            {"left": summary(left), "right": summary(right), "rows": compare(_hops(left), _hops(right))}
        )

    async def map(self, request: Request) -> Response:
        """The processes and what went over each arrow in a minute, `minutes_ago` (0-15)."""
        minutes = request.query_params.get("minutes_ago", "0")
        if not _MINUTES.fullmatch(minutes):
            raise invalid("invalid query parameter", minutes_ago="must be a number from 0 to 15")
        play = self._development.play
        if play is None or minutes != "0":
            return json_response(topology(self._traffic, int(minutes)))
        depths, unread = await asyncio.gather(play.events.depths(), play.reading.unread())
        return json_response(topology(self._traffic, 0, depths=depths, unread=unread))

    async def play(self, request: Request) -> Response:
        """Make a call for the page (`Call`), and return its answer and its trace."""
        play = allowed(self._development.play, "calls are made from this page in development only")
        check_json(request, "the call must be sent as application/json")
        return json_response(await play.make(Call.parse(await self._body(request))))

    async def audit(self, _: Request) -> Response:
        """Judge every order by all books (`shop audit`)."""
        audits = allowed(self._development.audits, "audits are run from here in development only")
        return json_response(await audits.run())

    async def _body(self, request: Request) -> bytes:
        return await body_of(request, self._max_body, invalid(f"the body must have at most {self._max_body} bytes"))

    def _named(self, name: object) -> Trace:
        if not isinstance(name, str) or not name:
            raise invalid("left and right must each be the id of a trace or of an order")
        trace = self._store.get(name.lower()) or self._of_order(name)
        if trace is None:
            raise not_found("trace or order", name)
        return trace

    def _of_order(self, order_id: str) -> Trace | None:
        """The trace that began first: later ones are other requests about the order."""
        found = self._store.newest(MAX_LIMIT, order_id=order_id)
        return found[-1] if found else None

    def _trace(self, request: Request) -> Trace:
        trace_id: str = request.path_params["trace_id"]
        trace = self._store.get(trace_id.lower())
        if trace is None:
            raise not_found("trace", trace_id)
        return trace


def _hops(trace: Trace) -> list[dict[str, Any]]:
    return [hop_json(hop) for hop in hops(trace.spans.values())]


def summary(trace: Trace) -> dict[str, Any]:
    """A trace in a list."""
    root = trace.root
    return {
        "trace_id": trace.trace_id,
        "name": root.name,
        "service": root.service,
        "services": len(trace.services),
        "span_count": len(trace.spans),
        "started_at": rfc3339(trace.started_ns),
        "duration_ms": round(trace.duration_ms, 3),
        "order_id": trace.order_id or None,
        "error": trace.failed,
    }


def span_json(span: Span, trace: Trace) -> dict[str, Any]:
    """A span of a trace. `offset_ms` is since the trace began: JavaScript cannot hold `started_at_ns` exactly."""
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id or None,
        "service": span.service,
        "name": span.name,
        "kind": span.kind,
        "protocol": span.protocol or None,
        "peer": span.peer or None,
        "started_at_ns": span.started_ns,
        "offset_ms": round((span.started_ns - trace.started_ns) / NS_PER_MS, 3),
        "duration_ms": round(span.duration_ms, 3),
        "bytes_sent": span.bytes_sent,
        "bytes_received": span.bytes_received,
        "status": "error" if span.error else "ok",
        "error": span.error or None,
        "attributes": span.attributes,
    }


async def _healthy(_: Request) -> Response:
    """Answer 200: the console depends on no other process, so it is ready when it is alive."""
    return json_response({"status": "ok"})
