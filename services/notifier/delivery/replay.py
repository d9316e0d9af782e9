"""Replay of missed events: from memory when recent, else from the event log."""

from __future__ import annotations

import asyncio
import logging

from chassis.broker.event_log import EventLog, Position
from chassis.broker.port import BrokerUnavailable
from services.notifier.delivery.replay_buffer import Repeats, ReplayBuffer
from services.notifier.frames import Notice

log = logging.getLogger(__name__)

# What is kept in memory: events, and bytes of their data.
_RECENT_EVENTS = 4_096
_RECENT_BYTES = 8 << 20
# What one client is given at once: it delays every other client by as long as it takes to write it, and a client that
# stops reading keeps it in memory.
_BATCH_SIZE = 200
_BATCH_BYTES = 128 << 10
# Clients far behind are read for one by one, since each such read may be a channel at the broker.
READERS = 16
_TIMEOUT = 10.0
_PAUSE = 0.5


class Replay:
    """`position` is the one up to which every live client of this copy has been served, once that is `known`."""

    def __init__(self, event_log: EventLog) -> None:
        self.known = asyncio.Event()
        self._event_log = event_log
        self._buffer = ReplayBuffer(events=_RECENT_EVENTS, size=_RECENT_BYTES)
        self._repeats = Repeats(_RECENT_EVENTS)
        self._places = asyncio.Semaphore(READERS)
        self._loading = asyncio.Lock()
        self._turns = asyncio.Lock()

    @property
    def position(self) -> Position:
        return self._buffer.end

    def begin(self, position: Position) -> None:
        """Go on after a position, without regard to earlier ones."""
        self._buffer.begin(position)
        self.known.set()

    def append(self, notice: Notice) -> bool:
        """Remember what happens; False for a repeat, which clients do not get."""
        if self._repeats.has(notice.event.id):
            self._buffer.skip(notice.position)
            return False
        self._buffer.append(notice)
        return True

    async def read(self, after: Position) -> tuple[list[Notice], Position]:
        """The first part of the notices after a position, and the position up to which that is everything.

        It is the caller's turn when this returns: of all clients that catch up (every client, after a restart), one
        gets its part in each iteration of the loop, so that new events go out in between.
        Waits while the broker is away. Raises `PositionExpired`.
        """
        while True:
            try:
                if self._buffer.may_reach(after):
                    await self._load(after)
                if not self._buffer.covers(after):
                    return await self._read_log(after)
                await self._turn()
                if self._buffer.covers(after):  # still
                    return self._buffer.read(after, _BATCH_SIZE)
            except (BrokerUnavailable, TimeoutError) as error:
                log.warning("replay paused: event log unavailable", extra={"reason": str(error)})
                await asyncio.sleep(_PAUSE)

    async def _turn(self) -> None:
        async with self._turns:
            await asyncio.sleep(0)

    async def _load(self, after: Position) -> None:
        """Read the gap between a position and the recent part: once, for all clients that reconnect together."""
        async with self._loading:
            start = self._buffer.start
            if after.includes(start):
                return
            earlier = after.intersection(start)
            missed, reached = await self._from_log(earlier, start, _RECENT_EVENTS, _RECENT_BYTES)
            if self._buffer.start == start:
                # What was too much to be read whole does not fit either.
                self._buffer.prepend(earlier, missed, whole=reached.includes(start))

    async def _read_log(self, after: Position) -> tuple[list[Notice], Position]:
        async with self._places:
            found, reached = await self._from_log(after, self.position, _BATCH_SIZE, _BATCH_BYTES)
            await self._turn()
            return found, reached

    async def _from_log(self, after: Position, upto: Position, limit: int, size: int) -> tuple[list[Notice], Position]:
        """Entries up to a position that this copy has reached, and the position up to which that is everything.

        Raises `PositionExpired`, `BrokerUnavailable` and `TimeoutError`.
        """
        found: list[Notice] = []
        repeats = Repeats(limit)
        async with asyncio.timeout(_TIMEOUT), self._event_log.tail(after, upto=upto) as entries:
            async for entry in entries:
                if repeats.has(entry.event.id):
                    continue
                found.append(Notice(entry))
                size -= found[-1].size
                if len(found) >= limit or size < 0:
                    return found, entry.position
        return found, after.union(upto)
