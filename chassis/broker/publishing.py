"""The producer span around the publishing of an event."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from chassis.broker.port import Event
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent


def publishing(event: Event, system: str, telemetry: Telemetry, spans: ExitStack) -> Event:
    """The event as it is published: with the traceparent of its own span, which ends when `spans` does.

    The span belongs to the trace that the event carries, else to the current one. `system` is the broker's.
    """
    span = spans.enter_context(
        telemetry.span(
            f"publish {event.type}",
            SpanKind.PRODUCER,
            protocol="AMQP" if system == "rabbitmq" else "queue",
            peer=system,
            parent=event.extensions.get("traceparent"),
            attributes={
                "messaging.system": system,
                "messaging.destination.name": event.type,
                "messaging.message.id": event.id,
                "cloudevents.event_type": event.type,
                "cloudevents.event_subject": event.subject,
                "shop.bytes.sent": len(event.data),
            },
            # Several are open at once, and the broker finds each by its event's traceparent.
            current=False,
        )
    )
    return replace(event, extensions={**event.extensions, "traceparent": current_traceparent(span)})
