"""Write batch: the events that go to the clients in one turn of the event loop.

A write is a call to the kernel, and costs more than everything else about an event. So what arrives in one turn goes to
each client in one write, however many events that are; a single event goes out at the end of its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from opentelemetry.trace import Span

from chassis.observability.capture import capture
from chassis.observability.capture.messages import Form, Message
from chassis.observability.tracing import SpanKind, Telemetry
from services.notifier.delivery.subscription_index import Group
from services.notifier.frames import Frame, JoinedFrames, Notice, WireProtocol
from services.notifier.metrics import Metrics

# Bytes of JSON that are written to a client at once, where it is more than one event: far less than what may wait for
# it, so that a client that reads is never too slow.
_BYTES = 4 << 10


@dataclass(slots=True)
class _Delivery:
    """One event on its way to all who receive it."""

    span: Span
    deliveries: int = 0
    size: int = 0


class WriteBatch:
    def __init__(self, telemetry: Telemetry, metrics: Metrics) -> None:
        self._telemetry = telemetry
        self._metrics = metrics
        self._captured = telemetry.capture is not None
        # The frames of each group, with the event that each of them is about.
        self._frames: dict[Group, list[tuple[Frame, _Delivery]]] = {}
        self._deliveries: list[_Delivery] = []
        self._spans = ExitStack()
        self._bytes = 0
        self._is_due = False

    def has_room(self, size: int) -> bool:
        """Whether an event with so many bytes of data can go out together with what is here; the first one can."""
        return not self._bytes or self._bytes + size <= _BYTES

    def add(self, notice: Notice, groups: Sequence[Group]) -> None:
        """Have an event go to these groups when the event loop's turn ends."""
        event, frame = notice.event, notice.frame
        protocol: WireProtocol = "WebSocket" if any(group.protocol == "WebSocket" for group in groups) else "SSE"
        # One span per event and copy: one per receiver would cost more than the delivery.
        span = self._spans.enter_context(
            self._telemetry.span(
                f"notify {event.type}",
                SpanKind.PRODUCER,
                protocol=protocol,
                peer="client",
                parent=event.extensions.get("traceparent"),
                current=False,
            )
        )
        delivery = _Delivery(span)
        self._deliveries.append(delivery)
        if self._captured:
            encoded = frame.encoded(protocol)
            form = Form.WEBSOCKET if protocol == "WebSocket" else Form.EVENT_STREAM
            capture.sent(span, Message(form, encoded, len(encoded)))
        for group in groups:
            self._frames.setdefault(group, []).append((frame, delivery))
        self._bytes += len(frame.payload)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn_ends)

    def deliver(self) -> None:
        """Write what is here to its receivers. Never waits, so that a slow client does not slow down others."""
        frames, self._frames = self._frames, {}
        deliveries, self._deliveries = self._deliveries, []
        self._bytes = 0
        with self._spans.pop_all():
            for group, parts in frames.items():
                together = JoinedFrames([frame for frame, _ in parts])
                written = sum([connection.send(together) for connection in group.connections])
                self._metrics.deliveries.labels(group.protocol).inc(written * len(parts))
                for frame, delivery in parts:
                    delivery.deliveries += written
                    delivery.size += written * len(frame.encoded(group.protocol))
            for delivery in deliveries:
                delivery.span.set_attribute("shop.bytes.sent", delivery.size)
                delivery.span.set_attribute("shop.deliveries", delivery.deliveries)

    def _turn_ends(self) -> None:
        self._is_due = False
        self.deliver()
