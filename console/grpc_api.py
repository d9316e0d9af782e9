"""OTLP over gRPC (OTLP specification 1.x, section OTLP/gRPC): the default of most OpenTelemetry SDKs."""

from __future__ import annotations

from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    DESCRIPTOR,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from chassis.auth.identity import anyone
from console.otlp.spans import accepted, spans_of
from console.store import TraceStore

NAME: str = DESCRIPTOR.services_by_name["TraceService"].full_name
POLICY = {"Export": anyone}


class OtlpApi:
    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        """Keep the spans of an export."""
        spans, unidentified = spans_of(request)
        return accepted(unidentified, self._store.add(spans))


def register(api: OtlpApi, server: Any) -> None:
    """Serve it. The generated code of `opentelemetry-proto` uses an older registration of methods."""
    export = grpc.unary_unary_rpc_method_handler(
        api.Export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    server.add_registered_method_handlers(NAME, {"Export": export})
