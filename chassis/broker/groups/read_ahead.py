"""Entries of a log, read before they are stored, and handed out in batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from chassis.background import ended
from chassis.broker.event_log import LogEntry, LogReader, Position
from chassis.broker.port import BrokerUnavailable

# Of an effect's transaction.
BATCH_SIZE = 200
# Seconds for which a batch waits for more: the longer where it follows closely on the one before, since each batch is a
# transaction and a wait for the disk, however few entries it has.
_FLUSH_INTERVAL = 0.01
_BUSY_FLUSH_INTERVAL = 0.25
# Seconds after which a batch is empty.
_IDLE_SECONDS = 1.0
# Seconds that a log gets to end a reading, before it is cancelled once more.
_END_SECONDS = 2.0


class ReadAhead:
    """Entries that a task of its own takes from a log, as many as make the next batch.

    A batch that waits no longer ends no call of the log: what that does meanwhile, such as connecting again, may take
    longer than any batch waits, and would never come to its end.
    """

    def __init__(self, entries: LogReader) -> None:
        self._entries = entries
        self._arrived: deque[LogEntry] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Read until the log fails, and keep its failure for `batch`."""
        try:
            async for entry in self._entries:
                self._arrived.append(entry)
                self._news.set()
                while len(self._arrived) >= BATCH_SIZE:
                    self._room.clear()
                    await self._room.wait()
            raise BrokerUnavailable("the event log was closed")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # A library's own cancellation, not one of this task: `batch` has to raise an error.
            self._failure = BrokerUnavailable("the reading of the event log was cancelled")
            self._news.set()
        except Exception as error:  # noqa: BLE001 - it is raised where the entries are taken
            self._failure = error
            self._news.set()

    async def batch(self) -> Sequence[LogEntry]:
        """Return the next entries, in order; none after a second without any. Raises what the log raised."""
        began = time.monotonic()
        await self._wait(1, _IDLE_SECONDS)
        busy = time.monotonic() - began < _BUSY_FLUSH_INTERVAL
        if self._arrived:
            await self._wait(BATCH_SIZE, _BUSY_FLUSH_INTERVAL if busy else _FLUSH_INTERVAL)
        elif self._failure is not None:
            raise self._failure
        found = [*self._arrived]
        self._arrived.clear()
        self._room.set()
        return found

    def idle_position(self) -> Position | None:
        """The place up to which the log was read, also past what is no event; None while entries wait to be taken."""
        return None if self._arrived else self._entries.position

    async def _wait(self, count: int, seconds: float) -> None:
        """Wait for so many entries, or for so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while len(self._arrived) < count and self._failure is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def read_ahead(entries: LogReader) -> AsyncIterator[ReadAhead]:
    """Read a log while the block runs."""
    ahead = ReadAhead(entries)
    reading = asyncio.create_task(ahead.run())
    try:
        yield ahead
    finally:
        await ended(reading, name="reading of the event log", timeout=_END_SECONDS)
