"""Tracing with OpenTelemetry: one span at each side of each boundary, and nothing in between.

Written by hand rather than by the instrumentation packages: those cost 100-250 us a request, and none of them
records what the tour shows of a hop (protocol, peer, bytes) in one place. Attributes follow the semantic conventions
where there is one; `shop.protocol`, `shop.peer` and `shop.bytes.*` are ours.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from chassis.observability.spans import CURRENT, RecordedSpan, current_span, new_span_id, new_trace_id

if TYPE_CHECKING:
    from chassis.observability.capture.capture import Capture
    from chassis.observability.metrics import Metrics

__all__ = ["NOTE", "Span", "SpanKind", "Telemetry", "current_span", "current_trace_id", "current_traceparent", "note"]

# W3C Trace Context: "00-<trace>-<parent>-<flags>"; a later version may have more after the flags.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# One of a trace that is not recorded, which needs not be taken apart.
_HANDED_ON = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
NOTE = "shop.note"
_OUTGOING = (SpanKind.CLIENT, SpanKind.PRODUCER)


class Telemetry:
    """The tracer of one process. Not a global: tests run many processes in one interpreter.

    Whether a trace is recorded is decided here, before a span is made: one that is not recorded costs 3 us.
    """

    def __init__(
        self,
        service: str,
        exporter: SpanExporter | None = None,
        *,
        sample_ratio: float = 1.0,
        metrics: Metrics | None = None,
        capture: Capture | None = None,
    ) -> None:
        """`metrics`: the counters of the process's calls, unless a call has an observer of its own.

        With `capture`, boundaries keep the messages that cross them (`chassis.observability.capture`).
        """
        self.service = service
        self.metrics = metrics
        self.capture = capture
        self._resource = Resource({"service.name": service})
        self._scope = InstrumentationScope("shop")
        self._processors: tuple[SpanProcessor, ...] = ()
        self._sample_ratio = sample_ratio
        if capture is not None:
            self.record(capture)
        if exporter is not None:
            self.record(SimpleSpanProcessor(exporter))

    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        protocol: str,
        peer: str = "",
        parent: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        current: bool = True,
    ) -> AbstractContextManager[Span]:
        """Be in a new span: a child of `parent` (a W3C traceparent) if given, else of the current span.

        A trace is recorded by all processes or by none: the first one decides, by the ratio. `current=False` does not
        make it the current span: for generators, which may be closed from elsewhere. An exception that leaves the
        block marks the span as failed and goes on.
        """
        unsampled, origin = self._origin(parent)
        if unsampled is not None:
            opened = _Unrecorded(unsampled, current=current)
        else:
            facts: dict[str, AttributeValue] = {"shop.protocol": protocol, **(attributes or {})}
            if peer:
                facts["shop.peer"] = peer
            opened = _Recorded(self._begun(name, kind, origin, facts), current=current)
        return opened if self.metrics is None else _Measured(opened, self.metrics, (protocol, kind.name.lower(), peer))

    def _begun(self, name: str, kind: SpanKind, origin: SpanContext, facts: dict[str, AttributeValue]) -> RecordedSpan:
        if self.capture is not None and kind in _OUTGOING:
            facts |= self.capture.caller()
        span = RecordedSpan(name, kind, origin, facts, resource=self._resource, scope=self._scope, ended=self._ended)
        for processor in self._processors:
            processor.on_start(span)  # type: ignore[arg-type]  # the SDK's own class, of which it is all that is read
        return span

    def _ended(self, span: RecordedSpan) -> None:
        for processor in self._processors:
            processor.on_end(span)

    def _origin(self, parent: str | None) -> tuple[_Unsampled | None, SpanContext]:
        """The span to be in when it is not recorded, and the context that a recorded one goes on from."""
        if parent:
            if _HANDED_ON.fullmatch(parent):
                return _Unsampled(parent), trace.INVALID_SPAN_CONTEXT
            origin = span_context_of(parent)
        else:
            span = CURRENT.get()
            if isinstance(span, _Unsampled):
                return span, trace.INVALID_SPAN_CONTEXT
            origin = span.get_span_context()
        if origin.is_valid:
            return (None if origin.trace_flags & _SAMPLED else _Unsampled(_written(origin))), origin
        if random.random() < self._sample_ratio:  # noqa: S311  # nosec B311 # nothing to guess here
            return None, origin
        return _Unsampled(_new_traceparent()), origin

    def record(self, processor: SpanProcessor) -> None:
        """Pass spans to this processor, too; it is closed with us."""
        self._processors = (*self._processors, processor)

    def close(self) -> None:
        """Export what is left. Blocks for as long as the exporter's own timeout."""
        for processor in self._processors:
            processor.shutdown()


def unrecorded() -> AbstractContextManager[Span]:
    """Be in a new trace that is recorded nowhere and has an id all the same."""
    return _Unrecorded(_Unsampled(_new_traceparent()), current=True)


class _Unsampled(NonRecordingSpan):
    """A span of a trace that is not recorded: what is left of it is its traceparent, which is handed on unchanged."""

    def __init__(self, traceparent: str) -> None:
        # Not the base's: that needs a context, which is hardly ever read.
        self.traceparent = traceparent

    def get_span_context(self) -> SpanContext:
        return span_context_of(self.traceparent)


class _Unrecorded:
    """Being in a span that only hands on its trace's id."""

    def __init__(self, span: Span, *, current: bool) -> None:
        self.span = span
        self._token = CURRENT.set(span) if current else None

    def __enter__(self) -> Span:
        return self.span

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)


class _Recorded(_Unrecorded):
    """Being in a span that is exported when it ends."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        super().__exit__(kind, error, traceback)
        if error is not None:
            self.span.set_attribute("error.type", getattr(error, "code", None) or type(error).__name__)
            self.span.set_status(Status(StatusCode.ERROR, str(error)))
        self.span.end()


class _Measured:
    """Being in a span whose duration is counted for its boundary, recorded or not."""

    def __init__(self, opened: _Unrecorded, metrics: Metrics, boundary: tuple[str, str, str]) -> None:
        self._opened = opened
        self._metrics = metrics
        self._boundary = boundary
        self._began = time.perf_counter()

    def __enter__(self) -> Span:
        return self._opened.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        seconds = time.perf_counter() - self._began
        self._metrics.hop_done(*self._boundary, seconds, self._opened.span, failed=isinstance(error, Exception))
        self._opened.__exit__(kind, error, traceback)


def note(what: str) -> None:
    """Note on the current span an outcome that its status does not show, such as "idempotent_replay"."""
    CURRENT.get().set_attribute(NOTE, what)


def current_traceparent(span: Span | None = None) -> str:
    """The current span (or the given one) as a W3C traceparent header; empty outside any span."""
    span = CURRENT.get() if span is None else span
    if isinstance(span, _Unsampled):
        return span.traceparent
    context = span.get_span_context()
    return _written(context) if context.is_valid else ""


def current_trace_id() -> str:
    """The current trace's id, 32 hexadecimal digits; empty outside any span."""
    return current_traceparent()[3:35]


def _new_traceparent() -> str:
    return f"00-{new_trace_id():032x}-{new_span_id():016x}-00"


def _written(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def span_context_of(traceparent: str) -> SpanContext:
    """The span context of a traceparent; invalid when malformed (W3C: then start a new trace)."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5]):
        return trace.INVALID_SPAN_CONTEXT
    flags = _SAMPLED if int(found[4], 16) & TraceFlags.SAMPLED else _NOT_SAMPLED
    return SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
