"""A consumer's place at a queue."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from chassis import wall_clock
from chassis.background import forever
from chassis.broker import cloudevents
from chassis.broker.embedded import store
from chassis.broker.embedded.writer import NOTHING, Writer
from chassis.broker.port import BrokerUnavailable
from chassis.observability.capture.messages import Message, sqlite_row

logger = logging.getLogger(__name__)

Settlement = Callable[[sqlite3.Connection, store.Held], bool]

# Between two looks where neither it is woken nor anything is known to become due.
_POLL_SECONDS = 60.0
# A consumer that holds all it may claims its next deliveries together, when half are settled, or after so long.
_CLAIM_INTERVAL = 0.005


class QueueSubscription:
    """Holds up to `prefetch` rows of a queue and hands them out one after the other.

    A task claims them: what is claimed is recorded here even when the iterating task was cancelled meanwhile.
    `wake` is set when there may be something new in `source`.
    """

    def __init__(self, writer: Writer, queue: str, holder: str, prefetch: int) -> None:
        self.wake = asyncio.Event()
        self.source = queue
        self._news = frozenset([queue])
        self._writer = writer
        self._queue = queue
        self._holder = holder
        self._free = prefetch
        self._enough = max(2, prefetch // 2)
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

    def delayed(self) -> Sequence[datetime]:
        """Nothing: the depth of the queue counts all."""
        return ()

    def start(self) -> None:
        """Claim deliveries from here on."""
        self._feeder = asyncio.create_task(
            forever(self._claim, name=f"consumer of {self._queue}", every=_POLL_SECONDS, on=self.wake)
        )

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
            await self._writer.write(partial(store.release, holder=self._holder), news=self._news)
        except BrokerUnavailable as error:
            logger.warning("%s: deliveries not released, so they return when this process ends: %s", self._queue, error)

    async def settle(self, held: store.Held, settlement: Settlement, *, news: bool = False) -> None:
        """Carry out a delivery's end. Raises `BrokerUnavailable` when it is not held any more, or stays unsettled."""
        try:
            was_held = await self._writer.write(
                lambda connection: settlement(connection, held), news=self._news if news else NOTHING
            )
        except BrokerUnavailable:
            self._unsettled.append(held)
            self.wake.set()
            raise
        self._free += 1
        if self._free == 1:  # else the last look has left nothing that is due
            asyncio.get_running_loop().call_later(_CLAIM_INTERVAL, self.wake.set)
        elif self._free == self._enough:
            self.wake.set()
        if not was_held:
            raise BrokerUnavailable(f"delivery {held.position} of {held.queue} is not held any more")

    async def _claim(self) -> float | None:
        """Claim what is there; how long to wait (seconds) unless it is woken earlier."""
        self.wake.clear()
        if self._unsettled:
            await self._give_back()
        if not self._free:
            return None
        now = wall_clock.seconds()
        claim = partial(store.claim, queue=self._queue, holder=self._holder, limit=self._free, now=now)
        look = await self._writer.write(claim, unless=partial(store.nothing_due, queue=self._queue, now=now))
        for claimed in look.claims:
            self._free -= 1
            self._claimed.put_nowait(HeldDelivery(self, claimed))
        return None if look.due is None else max(0.0, look.due - now)

    async def _give_back(self) -> None:
        rows = tuple(self._unsettled)
        await self._writer.write(partial(store.give_back, rows=rows), news=self._news)
        del self._unsettled[: len(rows)]
        self._free += len(rows)


class HeldDelivery:
    """One claimed row."""

    def __init__(self, subscription: QueueSubscription, claim: store.Claim) -> None:
        self._subscription = subscription
        self._claim = claim
        self.event = claim.event
        self.attempt = claim.attempt

    def on_wire(self) -> Message:
        """The row of the queue: here nothing is sent from process to process."""
        claim, event = self._claim, self._claim.event
        attributes = json.dumps(cloudevents.attributes(event))
        row = (claim.held.queue, claim.held.position, claim.attempt, None, claim.held.holder, attributes, event.data)
        return sqlite_row(row)

    async def ack(self) -> None:
        await self._subscription.settle(self._claim.held, store.ack)

    async def retry(self, delay: float, reason: str) -> None:
        logger.debug("event %s is retried in %.1f s: %s", self.event.id, delay, reason)
        retry = partial(store.retry, delay=delay, now=wall_clock.seconds())
        await self._subscription.settle(self._claim.held, retry, news=True)

    async def dead_letter(self, reason: str) -> None:
        settle = partial(store.dead_letter, event_id=self.event.id, reason=reason, now=wall_clock.seconds())
        await self._subscription.settle(self._claim.held, settle)
