"""A producer span for each event that is appended; a reader of the log continues its trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from aiokafka.structs import RecordMetadata
from opentelemetry.util.types import AttributeValue

from chassis.broker.kafka.records import Record, captured
from chassis.broker.port import Event
from chassis.observability.capture import capture
from chassis.observability.tracing import Span, SpanKind, Telemetry, current_traceparent

PROTOCOL, SYSTEM = "Kafka", "kafka"
# A record with the span of its appending, if it has one.
Traced = tuple[Record, Span | None]


class Tracer:
    """Makes the spans of a topic's producer. Without telemetry there are none."""

    def __init__(self, topic: str, telemetry: Telemetry | None) -> None:
        self._topic = topic
        self._telemetry = telemetry

    @contextmanager
    def appending(self, events: Sequence[Event]) -> Iterator[Sequence[Traced]]:
        """The records of events, for the block to append: each in a span of the trace that the event belongs to.

        An event that belongs to no trace gets no span, and begins no trace. Raises `InvalidEvent`.
        """
        with ExitStack() as stack:
            yield [self._one(event, stack) for event in events]

    def _one(self, event: Event, stack: ExitStack) -> Traced:
        parent = event.extensions.get("traceparent")
        if self._telemetry is None or not parent:
            return Record.of(event), None
        facts: dict[str, AttributeValue] = {
            "messaging.system": SYSTEM,
            "messaging.operation.type": "send",
            "messaging.destination.name": self._topic,
            "messaging.message.id": event.id,
            "messaging.kafka.message.key": event.subject,
            "cloudevents.event_type": event.type,
            "cloudevents.event_subject": event.subject,
            "shop.bytes.sent": len(event.data),
        }
        opened = self._telemetry.span(
            f"append {event.type}",
            SpanKind.PRODUCER,
            protocol=PROTOCOL,
            peer=SYSTEM,
            parent=parent,
            attributes=facts,
            current=False,
        )
        span = stack.enter_context(opened)
        # The reader's first span belongs to this one, not to the publishing around it.
        record = Record.of(replace(event, extensions={**event.extensions, "traceparent": current_traceparent(span)}))
        if self._telemetry.capture is not None:
            capture.sent(span, captured(record))
        return record, span


def keep_places(traced: Sequence[Traced], places: Sequence[RecordMetadata]) -> None:
    """Keep where each record is with its span."""
    for (_, span), place in zip(traced, places, strict=True):
        if span is not None:
            span.set_attribute("messaging.destination.partition.id", str(place.partition))
            span.set_attribute("messaging.kafka.offset", place.offset)
