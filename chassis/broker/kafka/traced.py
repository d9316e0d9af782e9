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


class Tracer:
    """Makes the spans of a topic's producer. Without telemetry there are none."""

    def __init__(self, topic: str, telemetry: Telemetry | None) -> None:
        self._topic = topic
        self._telemetry = telemetry

    @contextmanager
    def appending(self, events: Sequence[Event]) -> Iterator[Appending]:
        """Append events while the block runs, each in a span of the trace that it belongs to. Raises `InvalidEvent`.

        An event that belongs to no trace gets no span, and begins no trace.
        """
        with ExitStack() as stack:
            yield Appending([self._one(event, stack) for event in events])

    def _one(self, event: Event, stack: ExitStack) -> tuple[Record, Span | None]:
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


class Appending:
    """Events on their way, in their order, as records with their spans."""

    def __init__(self, records: Sequence[tuple[Record, Span | None]]) -> None:
        self.records = [record for record, _ in records]
        self._spans = [span for _, span in records]

    def done(self, places: Sequence[RecordMetadata]) -> None:
        """Keep where each record is."""
        for span, place in zip(self._spans, places, strict=True):
            if span is not None:
                span.set_attribute("messaging.destination.partition.id", str(place.partition))
                span.set_attribute("messaging.kafka.offset", place.offset)
