"""The broker port: what the shop relies on, whichever broker carries it.

Two adapters keep these promises, and one suite (`tests/contract/test_broker.py`) holds both to them:
`rabbitmq/` for production and `embedded/` for one machine.

* `publish` returns once every event is durably in the event log and in each queue bound to its type.
* A work queue's deliveries are shared among its consumers; each is held by one of them until it is settled.
* What a dead consumer held is delivered again. A delivery is gone only after `ack` or `dead_letter`.
* Events published one after the other about one subject reach one consumer in that order (a retried one may fall back).

The event log is a port of its own (`event_log.py`): the broker's own log, or another system's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chassis import wall_clock
from chassis.broker.event import Event as Event  # noqa: PLC0414 - what this port carries
from chassis.broker.event_log import EventLog
from chassis.errors import BrokerUnavailable as BrokerUnavailable  # noqa: PLC0414 - what this port raises
from chassis.observability.capture.messages import Message

# A queue's dead letters, the oldest, among which one is looked for by its id: RabbitMQ shows them only by taking them.
MAX_SEARCHED = 10_000


@dataclass(frozen=True, slots=True)
class Topology:
    """The exchange, the retained log, and each work queue with the topic patterns that it is bound to."""

    exchange: str
    log: str
    queues: Mapping[str, Sequence[str]]

    @classmethod
    def load(cls, path: Path) -> Topology:
        """Read a topology from its TOML file. Raises `KeyError` when a part is missing."""
        content = tomllib.loads(path.read_text())
        return cls(content["exchange"], content["log"], content["queues"])


class Delivery(Protocol):
    """One event held by one consumer; exactly one of its three methods settles it."""

    @property
    def event(self) -> Event: ...

    @property
    def attempt(self) -> int:
        """1 for the first delivery, 2 for the first retry, and so on."""

    def on_wire(self) -> Message:
        """The delivery as the broker brought it, for the capture of messages."""

    async def ack(self) -> None:
        """The effect is committed; the queue forgets the event."""

    async def retry(self, delay: float, reason: str) -> None:
        """Deliver it again in `delay` seconds, with `attempt` one higher."""

    async def dead_letter(self, reason: str) -> None:
        """Move it to the dead-letter queue, where it waits for a person."""


class Deliveries(Protocol):
    """The deliveries of a work queue to one consumer."""

    def __aiter__(self) -> Deliveries: ...

    async def __anext__(self) -> Delivery: ...

    def delayed(self) -> Sequence[datetime]:
        """Times of the events that wait here for their next attempt and that `Broker.depths` does not count."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be handled. `id` is the event's id."""

    id: str
    queue: str
    event: Event
    reason: str
    attempts: int
    died_at: datetime


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """An event that waits in a work queue: `not_before` while it is delayed for a retry, `held` by a consumer."""

    id: str
    queue: str
    type: str
    subject: str
    attempt: int
    not_before: datetime | None
    held: bool


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Depth of a queue: deliveries that are `ready` now, `delayed` for a retry, `dead` for good.

    What a consumer holds unsettled counts as ready on the embedded broker and not at all on RabbitMQ, nor do the
    delayed ones that it keeps (`Deliveries.delayed`). `oldest` is when the oldest event that is not settled happened,
    and `consumers` how many take from the queue; None where nothing waits, or the broker has no such figure.
    """

    queue: str
    ready: int
    delayed: int
    dead: int
    oldest: datetime | None = field(default=None, compare=False)
    consumers: int | None = field(default=None, compare=False)

    def age(self) -> float | None:
        """Seconds since the oldest event happened."""
        return None if self.oldest is None else age(self.oldest)


def age(at: datetime) -> float:
    """Seconds since then; 0 for a moment that a clock set back has put into the future."""
    return max(0.0, wall_clock.seconds() - at.timestamp())


class Broker(Protocol):
    system: str
    """`messaging.system` of the OpenTelemetry semantic conventions: "rabbitmq" or "embedded"."""

    @property
    def log(self) -> EventLog:
        """The event log, which has every event that was published."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Persist the events in this order, in the queues and in the log.

        Raises `BrokerUnavailable`; then any of them may be published or not, in either.
        """

    def deliveries(self, queue: str, *, prefetch: int = 16) -> AbstractAsyncContextManager[Deliveries]:
        """Compete for a queue's deliveries, holding at most `prefetch` unsettled ones.

        Leaving the context stops receiving; what is then still unsettled is delivered again, to any consumer.
        The iterator survives a lost connection: it goes on once the broker is back.
        """

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of a work queue; they stay where they are."""

    async def replay_dead_letter(self, queue: str, event_id: str) -> bool:
        """Put a dead letter back into its queue as a first attempt.

        False when none has this id: on RabbitMQ, among the `MAX_SEARCHED` oldest.
        """

    async def drop_dead_letters(self, queue: str, event_ids: AbstractSet[str]) -> set[str]:
        """Forget a dead letter of each id, in one search; the ids that were found.

        On RabbitMQ they are looked for among the `MAX_SEARCHED` oldest.
        """

    async def depths(self) -> list[QueueDepth]:
        """Depth of each work queue."""

    async def queued(self, queue: str, *, limit: int = 100) -> list[QueuedEvent] | None:
        """The oldest events in a work queue that are not settled, delayed and held ones included.

        None where the broker does not show them: on RabbitMQ, what a consumer holds can be neither read nor counted.
        """

    async def healthy(self) -> bool:
        """Whether the broker can be reached now."""

    async def close(self) -> None:
        """Give up every connection; unsettled deliveries go back."""
