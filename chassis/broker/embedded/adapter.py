"""The broker port on one machine: durable queues in one SQLite file, beside the event log."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from chassis import wall_clock
from chassis.background import forever
from chassis.broker import cloudevents
from chassis.broker.embedded import peers, store
from chassis.broker.embedded.event_log import EmbeddedLog, LogSubscription
from chassis.broker.embedded.subscriptions import QueueSubscription
from chassis.broker.embedded.writer import Writer
from chassis.broker.port import BrokerUnavailable, DeadLetter, Deliveries, Event, QueueDepth, QueuedEvent, Topology
from chassis.broker.retention import Retention
from chassis.broker.topics import matches
from chassis.observability.capture import capture
from chassis.observability.capture.messages import sqlite_row

logger = logging.getLogger(__name__)

# Seconds: each look checks every peer's pipe.
WATCH_INTERVAL = 0.5


class EmbeddedBroker:
    """The port's promises for the processes of one machine."""

    system = "embedded"

    def __init__(self, path: Path, topology: Topology, retention: Retention, *, logged: bool) -> None:
        self._topology = topology
        self._logged = logged
        # The types that this process publishes, of which there are few.
        self._routes: dict[str, list[str]] = {}
        self._folder = path.with_name(path.name + ".sessions")
        self._session: peers.Session | None = None
        self._peer_notifier = peers.PeerNotifier(self._folder)
        self._watcher: asyncio.Task[None] | None = None
        self._writer = Writer(path, store.prepare, wake=self._wake, notify=self._notify)
        self._subscriptions: set[QueueSubscription | LogSubscription] = set()
        self._numbers = itertools.count(1)
        self.log = EmbeddedLog(self._writer, retention, self._subscribed)

    @classmethod
    async def open(cls, path: str, topology: Topology, retention: Retention, *, logged: bool = True) -> EmbeddedBroker:
        """Open or create the file at `path`. Raises `BrokerUnavailable`.

        `logged`: what is published goes into its log, too; not where the event log is another system's.
        """
        file = Path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerUnavailable(str(error)) from error
        broker = cls(file, topology, retention, logged=logged)
        await broker._writer.open()
        return broker

    async def publish(self, events: Sequence[Event]) -> None:
        routed = [
            store.Routed(cloudevents.attributes(event), event.data, self._queues_for(event.type)) for event in events
        ]
        for event in events:
            if (span := capture.open_span(event.extensions.get("traceparent", ""))) is not None:
                attributes = json.dumps(cloudevents.attributes(event))
                capture.sent(span, sqlite_row((None, attributes, event.data, wall_clock.seconds())))
        await self.log.add(routed, logged=self._logged)

    def _queues_for(self, type_: str) -> list[str]:
        found = self._routes.get(type_)
        if found is None:
            found = self._routes[type_] = [
                queue
                for queue, patterns in self._topology.queues.items()
                if any(matches(pattern, type_) for pattern in patterns)
            ]
        return found

    @asynccontextmanager
    async def deliveries(self, queue: str, *, prefetch: int = 16) -> AsyncIterator[Deliveries]:
        self._check(queue)
        holder = f"{self._listen().name}/{next(self._numbers)}"
        subscription = QueueSubscription(self._writer, queue, holder, prefetch)
        async with self._subscribed(subscription):
            subscription.start()
            yield subscription

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        self._check(queue)
        return await self._writer.read(partial(store.dead_letters, queue=queue, limit=limit))

    async def replay_dead_letter(self, queue: str, event_id: str) -> bool:
        self._check(queue)
        replay = partial(store.replay, queue=queue, event_id=event_id)
        return await self._writer.write(replay, durable=True, news=frozenset([queue]))

    async def drop_dead_letters(self, queue: str, event_ids: AbstractSet[str]) -> set[str]:
        self._check(queue)
        return await self._writer.write(partial(store.drop, queue=queue, event_ids=event_ids), durable=True)

    async def depths(self) -> list[QueueDepth]:
        return await self._writer.read(partial(store.depths, queues=self._topology.queues))

    async def queued(self, queue: str, *, limit: int = 100) -> list[QueuedEvent] | None:
        self._check(queue)
        return await self._writer.read(partial(store.queued, queue=queue, limit=limit))

    async def healthy(self) -> bool:
        return await self.log.healthy()

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for subscription in tuple(self._subscriptions):
            await subscription.stop()
        await self._writer.close()
        self._peer_notifier.close()
        if self._session is not None:
            self._session.close()
            self._session = None

    def _check(self, queue: str) -> None:
        if queue not in self._topology.queues:
            raise ValueError(f"unknown work queue {queue!r}")

    def _listen(self) -> peers.Session:
        """Have a session from the first subscription on."""
        if self._session is None:
            try:
                self._session = peers.Session(self._folder, self._wake)
            except OSError as error:
                raise BrokerUnavailable(f"cannot listen in {self._folder}: {error}") from error
            self._watcher = asyncio.create_task(self._watch())
        return self._session

    @asynccontextmanager
    async def _subscribed(self, subscription: QueueSubscription | LogSubscription) -> AsyncIterator[None]:
        self._listen()
        self._subscriptions.add(subscription)
        try:
            yield
        finally:
            self._subscriptions.discard(subscription)
            await subscription.stop()

    def _wake(self, news: frozenset[str] | None = None) -> None:
        """Wake the subscriptions of the changed queues, or all of them."""
        for subscription in self._subscriptions:
            if news is None or subscription.source in news:
                subscription.wake.set()

    def _notify(self, news: frozenset[str]) -> None:
        try:
            self._peer_notifier.notify(news, but=self._session.name if self._session else "")
        except OSError as error:  # they look for themselves from time to time
            logger.warning("embedded broker: cannot notify other sessions: %s", error)

    def _look_around(self, connection: sqlite3.Connection) -> tuple[set[str], int]:
        _, dead = peers.living(self._folder)
        return dead, store.version(connection)

    async def _watch(self) -> None:
        """Take back what dead peers hold, and notice a commit whose process died before it notified."""
        seen = -1

        async def look() -> None:
            nonlocal seen
            dead, version = await self._writer.read(self._look_around)
            if dead or seen == -1:
                orphans = partial(_release_orphans, folder=self._folder)
                await self._writer.write(orphans, news=frozenset(self._topology.queues))
                peers.remove_ended(self._folder, dead)
            if version != seen:
                seen = version
                self._wake()

        await forever(look, name="broker session watch", every=WATCH_INTERVAL)


def _release_orphans(connection: sqlite3.Connection, folder: Path) -> None:
    # Under the write lock: a process that has committed a claim by now had its session before.
    alive, _ = peers.living(folder)
    for holder in store.holders(connection):
        if holder.partition("/")[0] not in alive:
            store.release(connection, holder)
