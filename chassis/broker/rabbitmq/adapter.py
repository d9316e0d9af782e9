"""The broker port in production: RabbitMQ."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aio_pika.abc import AbstractChannel

from chassis.broker import cloudevents
from chassis.broker.port import BrokerUnavailable, DeadLetter, Deliveries, Event, QueueDepth, QueuedEvent, Topology
from chassis.broker.rabbitmq import event_log
from chassis.broker.rabbitmq.connection import Outgoing, Prepare, Publisher, ReopeningConnection
from chassis.broker.rabbitmq.dead_letters import DeadLetterQueues
from chassis.broker.rabbitmq.queues import QueueSubscription
from chassis.broker.rabbitmq.topology import Names, confirm, declare
from chassis.broker.retention import Retention
from chassis.broker.topics import matches

log = logging.getLogger(__name__)

# Seconds. aiormq gives a silent connection up after three of them and a little (33 to 38 s), RabbitMQ after two. With
# 20 s it was more than a minute until what had been sent there was delivered again.
HEARTBEAT = "10"


class RabbitBroker:
    """The port's promises over RabbitMQ. Positions in its log grow but have gaps."""

    system = "rabbitmq"

    def __init__(self, url: str, names: Names, prepare: Prepare, *, logged: bool) -> None:
        self._names = names
        self._logged = logged
        # One connection each way: RabbitMQ slows a publishing connection down by not reading it, and settlements must
        # not wait behind that.
        self._outbound = ReopeningConnection(url, prepare)
        self._inbound = ReopeningConnection(url, prepare)
        self._publisher = Publisher(self._outbound)
        self._dead_letters = DeadLetterQueues(self._inbound, self._publisher, names)
        self._subscriptions: set[QueueSubscription | event_log.LogSubscription] = set()
        self.log = event_log.RabbitLog(self._inbound, self._publisher, names.log, self._subscribed, self.healthy)

    @classmethod
    async def open(cls, url: str, topology: Topology, retention: Retention, *, logged: bool = True) -> RabbitBroker:
        """Connect and declare the topology, now if the broker is there, else as soon as it is.

        `logged`: there is a stream, which has what is published; not where the event log is another system's.
        """
        server, prefix, declared = split_options(url)
        names = Names(prefix, topology)
        declaring = partial(declare, names=names, retention=retention if logged else None)
        confirming = partial(confirm, names=names, logged=logged)
        broker = cls(server, names, confirming if declared else declaring, logged=logged)
        try:
            await broker._outbound.connection()
        except BrokerUnavailable as error:
            # A process that has an outbox can work without it, and must not stay down because of it.
            log.warning("broker unavailable at start, retrying", extra={"reason": str(error)})
        return broker

    async def publish(self, events: Sequence[Event]) -> None:
        exchange = self._names.exchange
        await self._publisher.publish(
            [
                Outgoing(exchange, event.type, cloudevents.headers(event), event.data)
                for event in events
                if self._logged or self._is_queued(event.type)
            ]
        )

    def _is_queued(self, type_: str) -> bool:
        """Whether a work queue takes events of a type: without a stream, RabbitMQ returns one that none takes."""
        return any(matches(pattern, type_) for patterns in self._names.topology.queues.values() for pattern in patterns)

    @asynccontextmanager
    async def deliveries(self, queue: str, *, prefetch: int = 16) -> AsyncIterator[Deliveries]:
        subscription = QueueSubscription(self._inbound, self._publisher, self._names, queue, prefetch)
        async with self._subscribed(subscription):
            subscription.start()
            yield subscription

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        return await self._dead_letters.list(queue, limit)

    async def replay_dead_letter(self, queue: str, event_id: str) -> bool:
        return bool(await self._dead_letters.take_out(queue, {event_id}, replay=True))

    async def drop_dead_letters(self, queue: str, event_ids: AbstractSet[str]) -> set[str]:
        return await self._dead_letters.take_out(queue, event_ids, replay=False)

    async def depths(self) -> list[QueueDepth]:
        async with self._inbound.channel() as channel:
            return [await self._depth(channel, queue) for queue in self._names.topology.queues]

    async def _depth(self, channel: AbstractChannel, queue: str) -> QueueDepth:
        names = (self._names.queue(queue), self._names.retry(queue), self._names.dead(queue))
        declared = [(await channel.declare_queue(name, passive=True)).declaration_result for name in names]
        ready, delayed, dead = (result.message_count or 0 for result in declared)
        return QueueDepth(queue, ready, delayed, dead, consumers=declared[0].consumer_count)

    async def queued(self, queue: str, *, limit: int = 100) -> list[QueuedEvent] | None:
        self._names.queue(queue)
        del limit  # AMQP shows ready messages only by taking them from the consumers, and never what these hold
        return None

    async def healthy(self) -> bool:
        try:
            async with self._outbound.channel():
                return True
        except BrokerUnavailable:
            return False

    async def close(self) -> None:
        for subscription in tuple(self._subscriptions):
            await subscription.stop()
        await self._inbound.close()
        await self._outbound.close()

    @asynccontextmanager
    async def _subscribed(self, subscription: QueueSubscription | event_log.LogSubscription) -> AsyncIterator[None]:
        self._subscriptions.add(subscription)
        try:
            yield
        finally:
            self._subscriptions.discard(subscription)
            await subscription.stop()


def split_options(url: str) -> tuple[str, str, bool]:
    """The URL for the connection, with a heartbeat (seconds), the prefix of our names, and whether all of them exist.

    Raises `ValueError`.
    """
    parts = urlsplit(url)
    query = {"heartbeat": HEARTBEAT, **dict(parse_qsl(parts.query))}
    prefix, topology = query.pop("prefix", ""), query.pop("topology", "declare")
    if topology not in ("declare", "declared"):
        raise ValueError(f"topology={topology} in the broker's URL must be declare or declared")
    return urlunsplit(parts._replace(query=urlencode(query))), prefix, topology == "declared"
