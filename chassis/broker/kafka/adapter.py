"""The event log port over a Kafka topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager

from chassis.broker.event_log import LogReader, Position
from chassis.broker.kafka.address import Address
from chassis.broker.kafka.reader import LogSubscription
from chassis.broker.kafka.topic import Topic
from chassis.broker.kafka.traced import SYSTEM, Tracer
from chassis.broker.kafka.writer import Writer
from chassis.broker.port import Event
from chassis.broker.retention import Retention
from chassis.observability.tracing import Telemetry


class KafkaLog:
    """The log port's promises over one topic, whose partitions a position covers all."""

    system = SYSTEM

    def __init__(self, url: str, retention: Retention, telemetry: Telemetry | None = None) -> None:
        """Connects to nothing yet: a process that has an outbox can start without its log. Raises `ValueError`.

        `telemetry`: has a span for each event that is appended and belongs to a trace.
        """
        self._address = Address.parse(url)
        self._topic = Topic(self._address, retention)
        self._writer = Writer(self._address, self._topic, Tracer(self._address.topic, telemetry))
        self._subscriptions: set[LogSubscription] = set()

    async def append(self, events: Sequence[Event]) -> None:
        await self._writer.append(events)

    @asynccontextmanager
    async def tail(self, after: Position | None = None, *, upto: Position | None = None) -> AsyncIterator[LogReader]:
        subscription = LogSubscription(self._address, self._topic, upto)
        async with self._kept(subscription, subscription.start(after)):
            yield subscription

    @asynccontextmanager
    async def read_partitions(self, after: Mapping[int, int]) -> AsyncIterator[LogReader]:
        subscription = LogSubscription(self._address, self._topic, None)
        async with self._kept(subscription, subscription.start_share(after)):
            yield subscription

    @asynccontextmanager
    async def _kept(self, subscription: LogSubscription, starting: Awaitable[None]) -> AsyncIterator[None]:
        self._subscriptions.add(subscription)
        try:
            await starting
            yield
        finally:
            self._subscriptions.discard(subscription)
            await subscription.stop()

    async def last_position(self) -> Position:
        subscription = LogSubscription(self._address, self._topic, None)
        try:
            await subscription.start(None)
            return subscription.position
        finally:
            await subscription.stop()

    async def partitions(self) -> int:
        return await self._topic.partitions()

    async def healthy(self) -> bool:
        return await self._topic.healthy()

    async def close(self) -> None:
        for subscription in tuple(self._subscriptions):
            await subscription.stop()
        await self._writer.close()
        await self._topic.close()
