"""Tracing with OpenTelemetry: one span at each side of each boundary, and nothing in between.

Written by hand rather than by the instrumentation packages: those cost 100-250 us a request, and none of them
records what the tour shows of a hop (protocol, peer, bytes) in one place. Attributes follow the semantic conventions
where there is one; `shop.protocol`, `shop.peer` and `shop.bytes.*` are ours.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

if TYPE_CHECKING:
    from chassis.metrics import Metrics

__all__ = ["Span", "SpanKind", "Telemetry", "current_trace_id", "current_traceparent", "telemetry"]

# W3C Trace Context: "00-<trace>-<parent>-<flags>"; a later version may have more after the flags.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# One of a trace that is not recorded, which needs not be taken apart.
_HANDED_ON = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)

# Not OpenTelemetry's own context: that copies a dictionary for each span, and nobody but us looks into it here.
_current: ContextVar[Span] = ContextVar("span", default=trace.INVALID_SPAN)


class Telemetry:
    """The tracer of one process. Not a global: tests run many processes in one interpreter.

    Whether a trace is recorded is decided here, before the SDK is asked: a span that nobody records costs 3 us
    instead of 25.
    """

    def __init__(
        self,
        service: str,
        exporter: SpanExporter | None = None,
        *,
        sample_ratio: float = 1.0,
        metrics: Metrics | None = None,
    ) -> None:
        """`metrics`: what counts the process's calls, unless somebody else is told to."""
        self.service = service
        self.metrics = metrics
        self._provider = TracerProvider(
            resource=Resource({"service.name": service}), sampler=ALWAYS_ON, shutdown_on_exit=False
        )
        self._sample_ratio = sample_ratio
        if exporter is not None:
            self.record(SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("shop")

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
            return _Unrecorded(unsampled, current=current)
        facts: dict[str, AttributeValue] = {"shop.protocol": protocol, **(attributes or {})}
        if peer:
            facts["shop.peer"] = peer
        inherited = trace.set_span_in_context(NonRecordingSpan(origin), otel_context.Context())
        span = self._tracer.start_span(name, inherited, kind, facts)
        return _Recorded(span, current=current)

    def _origin(self, parent: str | None) -> tuple[_Unsampled | None, SpanContext]:
        """The span to be in when nobody records it, and the context that a recorded one goes on from."""
        if parent:
            if _HANDED_ON.fullmatch(parent):
                return _Unsampled(parent), trace.INVALID_SPAN_CONTEXT
            origin = span_context_of(parent)
        else:
            span = _current.get()
            if isinstance(span, _Unsampled):
                return span, trace.INVALID_SPAN_CONTEXT
            origin = span.get_span_context()
        if origin.is_valid:
            return (None if origin.trace_flags & _SAMPLED else _Unsampled(_written(origin))), origin
        if random.random() < self._sample_ratio:  # noqa: S311 - nothing to guess here
            return None, origin
        return _Unsampled(f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"), origin

    def record(self, processor: SpanProcessor) -> None:
        """Tell it of spans, too; it is closed with us."""
        self._provider.add_span_processor(processor)

    def close(self) -> None:
        """Export what is left. Blocks for as long as the exporter's own timeout."""
        self._provider.shutdown()


@asynccontextmanager
async def telemetry(
    service: str, otlp_url: str, *, sample_ratio: float = 1.0, metrics_at: tuple[str, int] | None = None
) -> AsyncIterator[Telemetry]:
    """The telemetry of a process: spans go over OTLP/HTTP to `otlp_url` (nowhere when empty).

    Metrics are shown at a host's port, where `metrics_at` names one. Raises `OSError` when that is taken.
    """
    async with AsyncExitStack() as stack:
        metrics: Metrics | None = None
        if metrics_at is not None:
            # Imported here: who shows none does not pay for it.
            from chassis.metrics_server import showing_metrics

            metrics = await stack.enter_async_context(showing_metrics(*metrics_at))
        process = Telemetry(service, sample_ratio=sample_ratio, metrics=metrics)
        if otlp_url:
            # Imported here, as above.
            from chassis.span_export import OtlpSpans

            process.record(OtlpSpans(service, otlp_url))
        stack.push_async_callback(asyncio.to_thread, process.close)
        yield process


class _Unsampled(NonRecordingSpan):
    """A span of a trace that nobody records: what is left of it is its traceparent, which is handed on unchanged."""

    def __init__(self, traceparent: str) -> None:
        # Not the base's: that wants a context, and hardly anybody asks for it.
        self.traceparent = traceparent

    def get_span_context(self) -> SpanContext:
        return span_context_of(self.traceparent)


class _Unrecorded:
    """Being in a span that only hands on its trace's id."""

    def __init__(self, span: Span, *, current: bool) -> None:
        self._span = span
        self._token = _current.set(span) if current else None

    def __enter__(self) -> Span:
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)


class _Recorded(_Unrecorded):
    """Being in a span that is exported when it ends."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        if error is not None:
            self._span.set_attribute("error.type", getattr(error, "code", None) or type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR, str(error)))
        self._span.end()


def current_traceparent(span: Span | None = None) -> str:
    """The current span (or the given one) as a W3C traceparent header; empty outside any span."""
    span = _current.get() if span is None else span
    if isinstance(span, _Unsampled):
        return span.traceparent
    context = span.get_span_context()
    return _written(context) if context.is_valid else ""


def current_trace_id() -> str:
    """The current trace's id, 32 hexadecimal digits; empty outside any span."""
    return current_traceparent()[3:35]


def _written(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def span_context_of(traceparent: str) -> SpanContext:
    """What a traceparent names; an invalid context when it is malformed (W3C: then start a new trace)."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5]):
        return trace.INVALID_SPAN_CONTEXT
    flags = _SAMPLED if int(found[4], 16) & TraceFlags.SAMPLED else _NOT_SAMPLED
    return SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
