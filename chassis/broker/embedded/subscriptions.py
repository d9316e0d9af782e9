"""A consumer's place at a queue, and a reader's in the log."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from chassis.broker.embedded import store
from chassis.broker.embedded.writer import Writer
from chassis.broker.port import BrokerUnavailable, Event, LogEntry, PositionExpired

logger = logging.getLogger(__name__)

Settlement = Callable[[sqlite3.Connection, store.Held], bool]

RETRY_PAUSE = 0.5
READ_AT_ONCE = 64


class QueueSubscription:
    """Holds up to `prefetch` rows of a queue and hands them out one after the other.

    A task claims them: what is claimed is known here even when whoever iterates was cancelled meanwhile.
    `bell` is rung when there may be something new.
    """

    def __init__(self, writer: Writer, queue: str, holder: str, prefetch: int) -> None:
        self.bell = asyncio.Event()
        self._writer = writer
        self._queue = queue
        self._holder = holder
        self._free = prefetch
        self._claimed: asyncio.Queue[HeldDelivery | None] = asyncio.Queue()
        self._unsettled: list[store.Held] = []
        self._feeder: asyncio.Task[None] | None = None

    def __aiter__(self) -> QueueSubscription:
        return self

    async def __anext__(self) -> HeldDelivery:
        delivery = await self._claimed.get()
        if delivery is None:
            raise StopAsyncIteration
        return delivery

    def start(self) -> None:
        """Claim deliveries from here on."""
        self._feeder = asyncio.create_task(self._feed())

    async def stop(self) -> None:
        """Give back what is not settled, and end the iteration."""
        if self._feeder is None:
            return
        feeder, self._feeder = self._feeder, None
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        self._claimed.put_nowait(None)
        try:
            # After a claim that is still on its way: the writer keeps the order.
            await self._writer.write(partial(store.release, holder=self._holder), news=True)
        except BrokerUnavailable as error:
            logger.warning("what was received from %s goes back when this process ends: %s", self._queue, error)

    async def settle(self, held: store.Held, settlement: Settlement, *, news: bool = False) -> None:
        """Carry out a delivery's end. Raises `BrokerUnavailable` when it is not held any more, or stays unsettled."""
        try:
            was_held = await self._writer.write(lambda connection: settlement(connection, held), news=news)
        except BrokerUnavailable:
            self._unsettled.append(held)
            raise
        else:
            self._free += 1
        finally:
            self.bell.set()
        if not was_held:
            raise BrokerUnavailable(f"delivery {held.position} of {held.queue} is not held any more")

    async def _feed(self) -> None:
        while True:
            self.bell.clear()
            try:
                pause = await self._claim()
            except BrokerUnavailable as error:
                logger.warning("cannot receive from %s: %s", self._queue, error)
                pause = RETRY_PAUSE
            try:
                async with asyncio.timeout(pause):
                    await self.bell.wait()
            except TimeoutError:
                continue

    async def _claim(self) -> float | None:
        """Claim what is there; how long to wait (seconds) unless the bell rings earlier."""
        if self._unsettled:
            await self._give_back()
        if not self._free:
            return None
        due = await self._writer.read(partial(store.due, queue=self._queue))
        if due is None:
            return None
        now = time.time()
        if due > now:
            return due - now
        claim = partial(store.claim, queue=self._queue, holder=self._holder, limit=self._free, now=now)
        for claimed in await self._writer.write(claim):
            self._free -= 1
            self._claimed.put_nowait(HeldDelivery(self, claimed))
        return 0

    async def _give_back(self) -> None:
        rows = tuple(self._unsettled)
        await self._writer.write(partial(store.give_back, rows=rows), news=True)
        del self._unsettled[: len(rows)]
        self._free += len(rows)


class HeldDelivery:
    """One claimed row."""

    def __init__(self, subscription: QueueSubscription, claim: store.Claim) -> None:
        self._subscription = subscription
        self._claim = claim

    @property
    def event(self) -> Event:
        return self._claim.event

    @property
    def attempt(self) -> int:
        return self._claim.attempt

    async def ack(self) -> None:
        await self._subscription.settle(self._claim.held, store.ack)

    async def retry(self, delay: float, reason: str) -> None:
        logger.debug("event %s is retried in %.1f s: %s", self.event.id, delay, reason)
        retry = partial(store.retry, not_before=time.time() + delay)
        await self._subscription.settle(self._claim.held, retry, news=True)

    async def dead_letter(self, reason: str) -> None:
        bury = partial(store.dead_letter, event_id=self.event.id, reason=reason, now=time.time())
        await self._subscription.settle(self._claim.held, bury)


class LogSubscription:
    """Reads the log from right after a position."""

    def __init__(self, writer: Writer, after: int) -> None:
        self.bell = asyncio.Event()
        self._writer = writer
        self._after = after
        self._read: deque[LogEntry] = deque()
        self._stopped = False

    def __aiter__(self) -> LogSubscription:
        return self

    async def __anext__(self) -> LogEntry:
        while not self._read:
            if self._stopped:
                raise StopAsyncIteration
            self.bell.clear()
            try:
                self._read.extend(
                    await self._writer.read(partial(store.entries, after=self._after, limit=READ_AT_ONCE))
                )
            except BrokerUnavailable as error:
                logger.warning("cannot read the log: %s", error)
                await asyncio.sleep(RETRY_PAUSE)
                continue
            if not self._read:
                await self.bell.wait()
        entry = self._read.popleft()
        if entry.position != self._after + 1:
            raise PositionExpired(f"the log begins at position {entry.position}: the reader fell behind")
        self._after = entry.position
        return entry

    async def stop(self) -> None:
        """End the iteration."""
        self._stopped = True
        self.bell.set()
