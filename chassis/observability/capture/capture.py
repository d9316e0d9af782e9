"""Keeps what crossed a boundary with the span of the crossing: an event `capture.sent` or `capture.received`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from opentelemetry.sdk.trace import Span as RecordedSpan
from opentelemetry.sdk.trace import SpanProcessor

from chassis.observability.capture.masking import masked
from chassis.observability.capture.messages import KEPT_BYTES, LOOKED_AT_BYTES, Message
from chassis.observability.capture.places import calling_place

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

SENT, RECEIVED = "capture.sent", "capture.received"

# Spans that are being captured now, by id, of all processes in this interpreter: the publisher of a batch of events
# gets only each one's traceparent. Empty where nothing is captured.
_open: WeakValueDictionary[str, RecordedSpan] = WeakValueDictionary()


class Capture(SpanProcessor):
    """The capture of messages, part of a `Telemetry`. It keeps its open spans."""

    def caller(self) -> Mapping[str, str | int]:
        """The source location of the current call, as `code.*` attributes."""
        return calling_place()

    def on_start(self, span: RecordedSpan, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's
        _open[f"{span.get_span_context().span_id:016x}"] = span

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is not None:
            _open.pop(f"{context.span_id:016x}", None)


def sent(span: Span, message: Message) -> None:
    """Keep what went out, without its secrets."""
    _keep(span, SENT, message)


def received(span: Span, message: Message) -> None:
    """Keep the message that was received, without its secrets."""
    _keep(span, RECEIVED, message)


def open_span(traceparent: str) -> Span | None:
    """The span that a traceparent names, if its messages are captured."""
    return _open.get(traceparent[36:52]) if _open else None


def _keep(span: Span, name: str, message: Message) -> None:
    if not span.is_recording():
        return
    content = masked(message.content[:LOOKED_AT_BYTES])[:KEPT_BYTES]
    facts: dict[str, str | int] = {
        "capture.form": message.form,
        "capture.bytes": b64encode(content).decode(),
        "capture.size": message.size,
    }
    if message.content_type:
        facts["capture.content_type"] = message.content_type
    span.add_event(name, facts)
