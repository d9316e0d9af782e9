"""The spans of the page's calls: this process is their client, and keeps them without sending them to itself."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan

from chassis.observability import otlp
from chassis.observability.capture.capture import Capture
from chassis.observability.tracing import Telemetry
from console.hops import OUTSIDE
from console.otlp.spans import spans_of
from console.store import TraceStore


class _Kept(SpanProcessor):
    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's
        self._keep(span)

    def on_end(self, span: ReadableSpan) -> None:
        self._keep(span)

    def _keep(self, span: ReadableSpan) -> None:
        export = otlp.request(OUTSIDE, [otlp.encoded(span)])
        spans, _ = spans_of(ExportTraceServiceRequest.FromString(export))
        self._store.add(spans)


def client_telemetry(store: TraceStore) -> Telemetry:
    """Telemetry of "client": each call is recorded, with what it sends and receives."""
    telemetry = Telemetry(OUTSIDE, capture=Capture())
    telemetry.record(_Kept(store))
    return telemetry
