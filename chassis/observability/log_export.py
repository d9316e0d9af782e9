"""Log lines to an OpenTelemetry collector (OTLP over HTTP, protobuf): those that belong to a recorded trace.

For development, where the console shows them beside the hop in whose work they were written.
"""

from __future__ import annotations

import logging

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2 as pb

from chassis.observability.capture.masking import masked, masked_value
from chassis.observability.logs import extras
from chassis.observability.span_export import OtlpExport
from chassis.observability.spans import RecordedSpan
from chassis.observability.tracing import current_span

# Seconds for which lines are gathered, and lines that wait while the collector is away; of more, or
# where they exceed the bytes that `OtlpExport` holds, the oldest are lost.
_FLUSH_INTERVAL = 0.2
_MAX_WAITING = 2_000
_MAX_TEXT = 4_096


class OtlpLogs(logging.Handler):
    """Sends the lines of one process to `{url}/v1/logs`, from a thread of its own, without their secrets."""

    def __init__(self, service: str, url: str) -> None:
        super().__init__()
        self._service = service
        self._export = OtlpExport(
            service, f"{url.rstrip('/')}/v1/logs", "log", lambda _: _FLUSH_INTERVAL, most=_MAX_WAITING
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of a recorded span of this process: several may share an interpreter, and its loggers."""
        span = current_span()
        if not isinstance(span, RecordedSpan) or span.resource.attributes.get("service.name") != self._service:
            return
        context = span.get_span_context()
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        facts = {name: str(value) for name, value in extras(record).items() if name != "trace_id"}
        line = pb.LogRecord(
            time_unix_nano=int(record.created * 1e9),
            severity_text=record.levelname,
            body=AnyValue(string_value=masked(text.encode(errors="replace")).decode(errors="replace")[:_MAX_TEXT]),
            attributes=[
                KeyValue(key=name, value=AnyValue(string_value=masked_value(name, value)[:_MAX_TEXT]))
                for name, value in facts.items()
            ],
            trace_id=context.trace_id.to_bytes(16, "big"),
            span_id=context.span_id.to_bytes(8, "big"),
        )
        self._export.add(line.SerializeToString())

    def close(self) -> None:
        """Send what is left, and stop. Takes as long as sending may."""
        self._export.close()
        super().close()
