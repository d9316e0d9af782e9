"""Log lines to an OpenTelemetry collector (OTLP over HTTP, protobuf): those that belong to a recorded trace.

For development, where the console shows them beside the hop in whose work they were written.
"""

from __future__ import annotations

import logging
import threading
import urllib.request
from collections import deque
from http.client import HTTPException

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from chassis.observability import otlp
from chassis.observability.capture.masking import masked, masked_value
from chassis.observability.logs import extras
from chassis.observability.spans import RecordedSpan
from chassis.observability.tracing import current_span

# Seconds for which lines are gathered, and lines that wait while the collector is away; of more, the oldest are lost.
_GATHER = 0.2
_TIMEOUT = 2.0
_MAX_WAITING = 2_000
_MAX_TEXT = 4_096


class OtlpLogs(logging.Handler):
    """Sends the lines of one process to `{url}/v1/logs`, from a thread of its own, without their secrets."""

    def __init__(self, service: str, url: str) -> None:
        super().__init__()
        self._service = service
        self._url = f"{url.rstrip('/')}/v1/logs"
        self._resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])
        # As spans: whatever proxy the environment names for the web.
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._waiting: deque[pb.LogRecord] = deque(maxlen=_MAX_WAITING)
        self._something = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
        self._thread.start()

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
        self._waiting.append(
            pb.LogRecord(
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
        )
        self._something.set()

    def close(self) -> None:
        """Send what is left, and stop. Takes as long as sending may."""
        self._closing.set()
        self._something.set()
        self._thread.join()
        super().close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._something.wait()
            self._closing.wait(_GATHER)
            self._something.clear()
            if not self._send():
                self._something.set()
        self._send()

    def _send(self) -> bool:
        """Whether what waits is done with; it is tried again as long as there is room."""
        while batch := self._next_batch():
            if not self._sent(batch):
                if room := _MAX_WAITING - len(self._waiting):
                    self._waiting.extendleft(reversed(batch[-room:]))
                return False
        return True

    def _next_batch(self) -> list[pb.LogRecord]:
        batch: list[pb.LogRecord] = []
        size = 0
        while self._waiting and size < otlp.EXPORT_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].ByteSize()
        return batch

    def _sent(self, batch: list[pb.LogRecord]) -> bool:
        """Whether the collector has these lines, or rejects them for good."""
        scope_logs = pb.ScopeLogs(scope=InstrumentationScope(name="shop"), log_records=batch)
        message = ExportLogsServiceRequest(
            resource_logs=[pb.ResourceLogs(resource=self._resource, scope_logs=[scope_logs])]
        )
        request = urllib.request.Request(  # noqa: S310  # the URL is a setting
            self._url, message.SerializeToString(), {"Content-Type": "application/x-protobuf"}
        )
        try:
            with self._direct.open(request, timeout=_TIMEOUT):
                return True
        except urllib.error.HTTPError as error:
            return error.code not in otlp.COME_BACK
        except (OSError, HTTPException):  # what is no answer of HTTP is none of the former
            return False
