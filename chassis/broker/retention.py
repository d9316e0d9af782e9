"""Retention of the event log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """Whichever limit is reached first ends an event's time in the log.

    The embedded broker counts `events`; a RabbitMQ stream counts `size` in bytes and drops whole segments of
    `segment` bytes. RabbitMQ refuses to declare a stream that exists with another retention.
    """

    age: timedelta = timedelta(days=7)
    events: int = 100_000
    size: int = 1 << 30
    segment: int = 64 << 20
