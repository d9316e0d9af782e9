"""Log lines from OTLP's messages (opentelemetry-proto 1.x, `ExportLogsServiceRequest`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from console.domain import AttributeValue
from console.log_lines.store import MAX_TEXT, Line
from console.otlp.spans import UNNAMED_SERVICE, attributes_of

_numbers = count(1)


def lines_of(request: ExportLogsServiceRequest) -> Iterator[Line]:
    """The lines of an export request that belong to a trace."""
    for of_resource in request.resource_logs:
        service = str(attributes_of(of_resource.resource.attributes).get("service.name") or UNNAMED_SERVICE)[:MAX_TEXT]
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                if any(record.trace_id):
                    yield Line(
                        next(_numbers),
                        record.trace_id.hex(),
                        record.span_id.hex(),
                        service,
                        record.time_unix_nano or record.observed_time_unix_nano,
                        record.severity_text.lower()[:MAX_TEXT] or "info",
                        record.body.string_value[:MAX_TEXT],
                        {name: _cut(value) for name, value in attributes_of(record.attributes).items()},
                    )


def _cut(value: AttributeValue) -> AttributeValue:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def accepted(refused: int) -> bytes:
    """The answer; lines that were not kept are counted in OTLP's partial success."""
    response = ExportLogsServiceResponse()
    if refused:
        response.partial_success.rejected_log_records = refused
        response.partial_success.error_message = f"{refused} lines belong to traces that have too many"
    return response.SerializeToString()
