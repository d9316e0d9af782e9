"""The event log in the broker's SQLite file: one partition, whose positions have no gaps."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from chassis import wall_clock
from chassis.broker import cloudevents
from chassis.broker.embedded import store
from chassis.broker.embedded.writer import Writer
from chassis.broker.event_log import LogEntry, LogReader, Position, PositionExpired
from chassis.broker.port import BrokerUnavailable, Event
from chassis.broker.retention import Retention

logger = logging.getLogger(__name__)

# What news calls the log; no queue is called so.
LOG = "/log"
PRUNE_EVERY = 500
RETRY_PAUSE = 0.5
# What one reading of the log brings at most: many events that are small, or few that are large.
READ_BATCH_SIZE = 500
READ_BATCH_BYTES = 128 << 10
HEALTH_TIMEOUT = 2.0


@dataclass(eq=False)
class EmbeddedLog:
    """The log port's promises for the processes of one machine. It is closed with its broker."""

    _writer: Writer
    _retention: Retention
    # Has a subscription woken by what other processes append.
    _subscribed: Callable[[LogSubscription], AbstractAsyncContextManager[None]]
    _unpruned: int = PRUNE_EVERY  # so that a process that publishes little prunes too
    system = "embedded"

    async def append(self, events: Sequence[Event]) -> None:
        await self.add([store.Routed(cloudevents.attributes(event), event.data, ()) for event in events])

    async def add(self, routed: Sequence[store.Routed], *, logged: bool = True) -> None:
        """Put events into their queues and, if `logged`, into the log, whose oldest entries go from time to time."""
        self._unpruned += len(routed)
        prunes = self._unpruned >= PRUNE_EVERY
        if prunes:
            self._unpruned = 0

        def write(connection: sqlite3.Connection) -> None:
            store.publish(connection, routed, wall_clock.seconds(), logged=logged)
            if prunes:
                store.prune(connection, self._retention, wall_clock.seconds())

        news = frozenset((LOG, *(queue for event in routed for queue in event.queues)))
        await self._writer.write(write, durable=True, news=news)

    @asynccontextmanager
    async def tail(self, after: Position | None = None, *, upto: Position | None = None) -> AsyncIterator[LogReader]:
        first, last = await self._writer.read(store.bounds)
        begin = last if after is None else after.in_one_partition()
        if begin and not first <= begin + 1 <= last + 1:
            raise PositionExpired(f"position {begin} is not in the log, which holds {first} to {last}")
        end = None if upto is None else upto.in_one_partition()
        fresh = after is not None and not begin
        subscription = LogSubscription(self._writer, first - 1 if fresh else begin, end, fresh=fresh)
        async with self._subscribed(subscription):
            yield subscription

    def read_partitions(self, after: Mapping[int, int]) -> AbstractAsyncContextManager[LogReader]:
        return self.tail(Position.at(after[0]))

    async def last_position(self) -> Position:
        _, last = await self._writer.read(store.bounds)
        return Position.at(last)

    async def partitions(self) -> int:
        return 1

    async def healthy(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                await self._writer.read(store.bounds)
        except (BrokerUnavailable, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Nothing of its own is open."""


class LogSubscription:
    """Reads the log from right after an entry's number, up to another one's if there is one."""

    source = LOG

    def __init__(self, writer: Writer, after: int, upto: int | None, *, fresh: bool = False) -> None:
        """`fresh`: nothing was read before, so that what is pruned until the first reading is not missed."""
        self._fresh = fresh
        self.wake = asyncio.Event()
        self._writer = writer
        self.trouble = ""
        self._after = after
        self._upto = upto
        self._read: deque[store.LogRow] = deque()
        self._stopped = False

    @property
    def position(self) -> Position:
        return Position.at(self._after)

    def __aiter__(self) -> LogSubscription:
        return self

    async def __anext__(self) -> LogEntry:
        if not self._read:
            await self._read_more()
        # The log has no holes but at its beginning: within a reading each entry follows the one before.
        self._after += 1
        return store.entry(self._read.popleft())

    async def _read_more(self) -> None:
        """Read the next entries, or wait for them. Raises `StopAsyncIteration` once there is no more to be read."""
        while not self._read:
            limit = READ_BATCH_SIZE if self._upto is None else min(READ_BATCH_SIZE, self._upto - self._after)
            if self._stopped or limit <= 0:
                raise StopAsyncIteration
            self.wake.clear()
            try:
                read = partial(store.log_rows, after=self._after, limit=limit, max_bytes=READ_BATCH_BYTES)
                found = await self._writer.read(read)
                if not found:
                    await self._check_end()
            except BrokerUnavailable as error:
                self.trouble = str(error)
                logger.warning("event log unavailable, retrying in %.1f s: %s", RETRY_PAUSE, error)
                await asyncio.sleep(RETRY_PAUSE)
                continue
            self.trouble = ""
            if not found:
                await self.wake.wait()
                continue
            first = found[0][0]
            if first != self._after + 1 and not self._fresh:
                raise PositionExpired(f"the log begins at position {first}: the reader fell behind")
            self._after, self._fresh = first - 1, False
            self._read.extend(found)

    async def _check_end(self) -> None:
        """Raise `PositionExpired` for a log that ends before what was read: it is not the one that was read."""
        _, last = await self._writer.read(store.bounds)
        if last < self._after:
            raise PositionExpired(
                f"the log ends at position {last}, before {self._after}, the last one read: the log was recreated"
            )

    async def stop(self) -> None:
        """End the iteration."""
        self._stopped = True
        self.wake.set()
