"""Replay of missed events: from memory when recent, else from the event log."""

from __future__ import annotations

import asyncio
import logging

from chassis.broker.port import Broker, BrokerUnavailable
from services.notifier.delivery.replay_buffer import Recent
from services.notifier.transports.frames import Notice

log = logging.getLogger(__name__)

# What is kept in memory: events, and bytes of their data.
_RECENT_EVENTS = 4_096
_RECENT_BYTES = 8 << 20
# What one client is given at once: it delays every other client by as long as it takes to write it.
_BATCH_SIZE = 200
_BATCH_BYTES = 256 << 10
# Those who come from far back are read for one by one, since each such read may be a channel at the broker.
_READERS = 16
_TIMEOUT = 10.0
_PAUSE = 0.5


class History:
    """`position` is the one up to which every live client of this copy has been served, once that is `known`."""

    def __init__(self, broker: Broker) -> None:
        self.known = asyncio.Event()
        self._broker = broker
        self._recent = Recent(events=_RECENT_EVENTS, size=_RECENT_BYTES)
        self._places = asyncio.Semaphore(_READERS)
        self._loading = asyncio.Lock()
        self._turns = asyncio.Lock()

    @property
    def position(self) -> int:
        return self._recent.end

    def begin(self, position: int) -> None:
        """Go on after a position, whatever came before."""
        self._recent.begin(position)
        self.known.set()

    def append(self, notice: Notice) -> None:
        """Remember what happens."""
        self._recent.append(notice)

    async def read(self, after: int) -> tuple[list[Notice], int]:
        """The first part of what comes after a position, and the position up to which that is everything.

        It is the caller's turn when this returns: of all who catch up, as everybody does after a restart, one is
        given its part in each iteration of the loop, so that what happens meanwhile goes out in between.
        Waits while the broker is away. Raises `PositionExpired`.
        """
        while True:
            try:
                if self._recent.may_reach(after):
                    await self._load(after)
                if not self._recent.covers(after):
                    return await self._read_log(after)
                await self._turn()
                if self._recent.covers(after):  # still
                    return self._recent.read(after, _BATCH_SIZE)
            except (BrokerUnavailable, TimeoutError) as error:
                log.warning("replay paused: event log unavailable", extra={"reason": str(error)})
                await asyncio.sleep(_PAUSE)

    async def _turn(self) -> None:
        async with self._turns:
            await asyncio.sleep(0)

    async def _load(self, after: int) -> None:
        """Read what lies between a position and the recent part: once, for all who come back together."""
        async with self._loading:
            start = self._recent.start
            if start <= after:
                return
            missed = await self._from_log(after, start, _RECENT_EVENTS, _RECENT_BYTES)
            if self._recent.start == start:
                # What was too much to be read whole does not fit either.
                self._recent.prepend(after, [notice for notice in missed if notice.position <= start])

    async def _read_log(self, after: int) -> tuple[list[Notice], int]:
        async with self._places:
            found = await self._from_log(after, self.position, _BATCH_SIZE, _BATCH_BYTES)
            await self._turn()
            return found, found[-1].position

    async def _from_log(self, after: int, upto: int, limit: int, size: int) -> list[Notice]:
        """At least one event. Raises `PositionExpired`, `BrokerUnavailable` and `TimeoutError`."""
        found: list[Notice] = []
        async with asyncio.timeout(_TIMEOUT), self._broker.tail(after) as entries:
            async for entry in entries:
                found.append(Notice(entry))
                size -= found[-1].size
                if entry.position >= upto or len(found) >= limit or size < 0:
                    return found
        raise BrokerUnavailable("the log ended before it was read")
