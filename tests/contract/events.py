"""Events and queues for trying out a broker."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from chassis.broker.port import Event, Topology

TOPOLOGY = Topology(
    exchange="shop.events",
    log="event-log",
    queues={
        "processing": ["order.placed"],
        "mail": ["order.confirmed", "order.shipped"],
        "audit": ["order.*"],
        "everything": ["#"],
    },
)


def an_event(type_: str = "order.placed", *, subject: str = "", data: bytes = b'{"total": "9.90"}') -> Event:
    """A new event."""
    id_ = str(uuid4())
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    return Event(id_, type_, "/test", subject or id_, datetime.now(UTC), data, {"traceparent": traceparent})
