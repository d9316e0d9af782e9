"""Spans to an OpenTelemetry collector (OTLP over HTTP, protobuf), without keeping the event loop waiting.

The SDK's own batches are encoded in a thread, 30 us a span in pure Python. Meanwhile the event loop waits for the
interpreter, and with it every request in flight: at 300 spans a second that was a third of the p99. Here each span is
encoded when it ends, in 22 us, and all that is left to the thread is to join the pieces and to send them.
"""

from __future__ import annotations

import logging
import threading
import urllib.request
from collections import deque
from collections.abc import Mapping
from urllib.error import HTTPError

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as pb
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.util.types import AttributeValue

log = logging.getLogger(__name__)

# Seconds for which spans are gathered: half a one, not five as the SDK does, for somebody is watching.
_GATHER = 0.5
_PATIENCE = 2.0
# Spans that wait while the collector is away; of more, the oldest are forgotten.
_MOST = 4_096

# Answers after which one may try again (OTLP/HTTP, "Retryable Response Codes").
_COME_BACK = frozenset({429, 502, 503, 504})
# SpanFlags of trace.proto: what is said of the parent's whereabouts.
_KNOWN, _REMOTE = 0x100, 0x200


class OtlpSpans(SpanProcessor):
    """Sends what ends to `{url}/v1/traces`, from a thread of its own that sleeps while there is nothing to send.

    What could not be sent is tried again with the next batch: a collector may come up later than we do.
    """

    def __init__(self, service: str, url: str) -> None:
        self._url = f"{url.rstrip('/')}/v1/traces"
        self._resource = Resource(attributes=[_attribute("service.name", service)])
        self._scope = InstrumentationScope(name="shop")
        self._waiting: deque[pb.Span] = deque(maxlen=_MOST)
        self._something = threading.Event()
        self._closing = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        self._waiting.append(encoded(span))
        if not self._something.is_set():
            self._something.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  # sending has a limit of its own
        """Send what waits; whether all of it was taken."""
        return self._send()

    def shutdown(self) -> None:
        """Send what is left, and stop. Takes as long as sending may."""
        self._closing.set()
        self._something.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._something.wait()
            self._closing.wait(_GATHER)
            self._something.clear()
            if not self._send():
                self._something.set()
        self._send()

    def _send(self) -> bool:
        with self._sending:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not batch:
                return True
            scope_spans = pb.ScopeSpans(scope=self._scope, spans=batch)
            message = ExportTraceServiceRequest(
                resource_spans=[pb.ResourceSpans(resource=self._resource, scope_spans=[scope_spans])]
            )
            request = urllib.request.Request(  # noqa: S310  # the URL is a setting
                self._url, message.SerializeToString(), {"Content-Type": "application/x-protobuf"}
            )
            try:
                with urllib.request.urlopen(request, timeout=_PATIENCE):  # noqa: S310
                    return True
            except OSError as error:
                log.debug("spans were not taken", extra={"spans": len(batch), "reason": str(error)})
                if isinstance(error, HTTPError) and error.code not in _COME_BACK:
                    return True  # nor would they be the next time
                self._waiting.extendleft(reversed(batch[: _MOST - len(self._waiting)]))
                return False


def encoded(span: ReadableSpan) -> pb.Span:
    """A span as OTLP has it. Ours have neither events nor links."""
    context, parent, status = span.get_span_context(), span.parent, span.status
    assert context is not None  # noqa: S101  # the SDK's spans have one
    return pb.Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent is not None else b"",
        flags=_KNOWN | _REMOTE if parent is not None and parent.is_remote else _KNOWN,
        name=span.name,
        # OTLP counts from "unspecified" on.
        kind=span.kind.value + 1,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=_attributes(span.attributes or {}),
        status=pb.Status(code=status.status_code.value, message=status.description or ""),  # type: ignore[arg-type]
    )


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [_attribute(key, value) for key, value in attributes.items()]


def _attribute(key: str, value: AttributeValue) -> KeyValue:
    # A boolean is an integer, too, to Python.
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    raise TypeError(f"the attribute {key} is neither text, number nor truth value")
