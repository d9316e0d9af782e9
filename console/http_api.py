"""The console over HTTP: OTLP in (`POST /v1/traces`), traces out (`/api/traces`)."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.errors import Kind, ShopError, invalid, not_found
from chassis.problems import problem
from console.domain import NS_PER_MS, Span, Trace
from console.hops import Hop, hops
from console.otlp import decode
from console.store import TraceStore

PROTOBUF = "application/x-protobuf"
GZIP = 16 + zlib.MAX_WBITS
DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000
_LIMIT = re.compile("[1-9][0-9]{0,3}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# google.rpc.Code
_INVALID_ARGUMENT = 3
_RESOURCE_EXHAUSTED = 8


class ConsoleApi:
    """`max_body` bounds an export in bytes, on the wire and unpacked."""

    def __init__(self, store: TraceStore, *, max_body: int) -> None:
        self._store = store
        self._max_body = max_body

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/traces", self.receive, methods=["POST"]),
            Route("/api/traces", self.list_traces),
            Route("/api/traces/{trace_id}", self.show_trace),
            Route("/api/traces/{trace_id}/hops", self.show_hops),
            Route("/healthz", _healthy),
            Route("/readyz", _healthy),
        ]
        errors = dict.fromkeys((ShopError, HTTPException, Exception), _problem)
        return Starlette(routes=routes, exception_handlers=errors)

    async def receive(self, request: Request) -> Response:
        """OTLP/HTTP in its binary encoding (OTLP specification 1.x, section OTLP/HTTP)."""
        try:
            spans, unidentified = decode(await self._export(request))
        except ExportRefusedError as refusal:
            return refusal.response()
        except ShopError as error:
            return ExportRefusedError(400, _INVALID_ARGUMENT, error.message).response()
        return _accepted(unidentified, self._store.add(spans))

    async def _export(self, request: Request) -> bytes:
        """The unpacked body of an export."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PROTOBUF:
            raise ExportRefusedError(415, _INVALID_ARGUMENT, f"send {PROTOBUF}", {"accept": PROTOBUF})
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            supported = {"accept-encoding": "gzip, identity"}
            raise ExportRefusedError(415, _INVALID_ARGUMENT, "send gzip or no content-encoding", supported)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body:
                raise _too_large(self._max_body)
        return _unzipped(body, self._max_body) if coding == "gzip" else bytes(body)

    async def list_traces(self, request: Request) -> Response:
        """The newest traces, `limit` of them (1-1,000, 50), of one order if `order_id` names it."""
        limit = request.query_params.get("limit", str(DEFAULT_LIMIT))
        if not (_LIMIT.fullmatch(limit) and int(limit) <= MAX_LIMIT):
            raise invalid("the query cannot be understood", limit=f"must be a number from 1 to {MAX_LIMIT}")
        found = self._store.newest(int(limit), order_id=request.query_params.get("order_id", ""))
        return _json({"items": [summary(trace) for trace in found]})

    async def show_trace(self, request: Request) -> Response:
        """A trace with all its spans, by start."""
        trace = self._trace(request)
        spans = [span_json(span, trace) for span in trace.in_order()]
        return _json({**summary(trace), "spans": spans})

    async def show_hops(self, request: Request) -> Response:
        """A trace as its hops, in order."""
        trace = self._trace(request)
        return _json({**summary(trace), "hops": [hop_json(hop) for hop in hops(trace.spans.values())]})

    def _trace(self, request: Request) -> Trace:
        trace_id: str = request.path_params["trace_id"]
        trace = self._store.get(trace_id.lower())
        if trace is None:
            raise not_found("trace", trace_id)
        return trace


class ExportRefusedError(Exception):
    """An OTLP failure: an HTTP status, and a google.rpc.Status as the body."""

    def __init__(self, status: int, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = Status(code=code, message=message).SerializeToString()
        self.headers = headers

    def response(self) -> Response:
        return Response(self.body, self.status, self.headers, media_type=PROTOBUF)


def _too_large(limit: int) -> ExportRefusedError:
    return ExportRefusedError(413, _RESOURCE_EXHAUSTED, f"an export has at most {limit} bytes")


def _unzipped(body: bytearray, limit: int) -> bytes:
    """The content of a gzip body; never holds more than `limit` bytes of it, however much it would unpack to."""
    unzip = zlib.decompressobj(GZIP)
    try:
        content = unzip.decompress(body, limit + 1)
    except zlib.error as error:
        raise invalid("the body is not gzip") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not unzip.eof:
        raise invalid("the gzip body ends too early")
    return content


def summary(trace: Trace) -> dict[str, Any]:
    """A trace in a list."""
    root = trace.root
    return {
        "trace_id": trace.trace_id,
        "name": root.name,
        "service": root.service,
        "services": len(trace.services),
        "span_count": len(trace.spans),
        "started_at": (_EPOCH + timedelta(microseconds=trace.started_ns // 1_000)).isoformat().replace("+00:00", "Z"),
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


def hop_json(hop: Hop) -> dict[str, Any]:
    """A hop."""
    return {
        "span_id": hop.span_id,
        "offset_ms": round(hop.offset_ms, 3),
        "protocol": hop.protocol,
        "from": hop.origin,
        "to": hop.target,
        "operation": hop.operation,
        "duration_ms": round(hop.duration_ms, 3),
        "bytes_sent": hop.bytes_sent,
        "bytes_received": hop.bytes_received,
        "queue": hop.queue or None,
        "waiting_ms": None if hop.waiting_ms is None else round(hop.waiting_ms, 3),
        "attempt": hop.attempt,
        "error": hop.error or None,
    }


def _accepted(unidentified: int, refused: int) -> Response:
    """200; what was not kept is told as OTLP's partial success, which a sender must not repeat."""
    response = ExportTraceServiceResponse()
    if unidentified or refused:
        response.partial_success.rejected_spans = unidentified + refused
        response.partial_success.error_message = (
            f"{unidentified} spans have no valid ids, {refused} belong to traces that are full"
        )
    return Response(response.SerializeToString(), media_type=PROTOBUF)


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json", headers={"cache-control": "no-store"})


async def _healthy(_: Request) -> Response:
    """It depends on nobody, so that it is ready when it is alive."""
    return _json({"status": "ok"})


async def _problem(_: Request, error: Exception) -> Response:
    """An error as problem+json: ours, Starlette's own (no such path, no such method), or one that nobody expected."""
    match error:
        case ShopError():
            status, headers, body = problem(error)
        case HTTPException(status_code=code, detail=detail):
            refused = ShopError(detail.upper().replace(" ", "_"), detail, Kind.NOT_FOUND)
            status, headers, body = problem(refused, status=code, title=detail)
            headers |= error.headers or {}
        case _:
            status, headers, body = problem(ShopError("INTERNAL", "internal error", Kind.INTERNAL))
    return Response(body, status, headers)
