"""A broker that forwards to another one, and one that also opens a producer span for each event it publishes."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import replace

from chassis.broker.port import Broker, DeadLetter, Deliveries, Event, QueueDepth, QueuedEvent
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent


class ForwardingBroker:
    """The broker port over another broker, except `publish`: the base of brokers that publish in their own way."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.log = broker.log
        self.system = broker.system

    def deliveries(self, queue: str, *, prefetch: int = 16) -> AbstractAsyncContextManager[Deliveries]:
        return self._broker.deliveries(queue, prefetch=prefetch)

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        return await self._broker.dead_letters(queue, limit=limit)

    async def replay_dead_letter(self, queue: str, event_id: str) -> bool:
        return await self._broker.replay_dead_letter(queue, event_id)

    async def drop_dead_letters(self, queue: str, event_ids: AbstractSet[str]) -> set[str]:
        return await self._broker.drop_dead_letters(queue, event_ids)

    async def depths(self) -> list[QueueDepth]:
        return await self._broker.depths()

    async def queued(self, queue: str, *, limit: int = 100) -> list[QueuedEvent] | None:
        return await self._broker.queued(queue, limit=limit)

    async def healthy(self) -> bool:
        return await self._broker.healthy()

    async def close(self) -> None:
        await self._broker.close()


class TracedBroker(ForwardingBroker):
    """Publishes each event in a span of its own, and with that span's traceparent."""

    def __init__(self, broker: Broker, telemetry: Telemetry) -> None:
        super().__init__(broker)
        self._telemetry = telemetry

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish; each event's span belongs to the trace that the event carries, else to the current one."""
        with ExitStack() as spans:
            await self._broker.publish([self._traced(event, spans) for event in events])

    def _traced(self, event: Event, spans: ExitStack) -> Event:
        span = spans.enter_context(
            self._telemetry.span(
                f"publish {event.type}",
                SpanKind.PRODUCER,
                protocol="AMQP" if self.system == "rabbitmq" else "queue",
                peer=self.system,
                parent=event.extensions.get("traceparent"),
                attributes={
                    "messaging.system": self.system,
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
