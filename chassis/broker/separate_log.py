"""Work queues beside an event log of another system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from chassis.broker.event_log import EventLog
from chassis.broker.port import Broker, DeadLetter, Delivery, Event, QueueDepth, QueuedEvent


class BrokerWithLog:
    """The broker port's promises over a broker for the queues and a log that is not its own."""

    def __init__(self, queues: Broker, log: EventLog) -> None:
        """`queues`: keeps no log of what is published. Both are closed with this."""
        self._queues = queues
        self.log = log
        self.system = queues.system

    async def publish(self, events: Sequence[Event]) -> None:
        """Returns once both have every event; after an error the caller tries again, which leaves repeats in either."""
        # Both to their ends: what is still under way to the one would overtake the next attempt.
        outcomes = await asyncio.gather(self._queues.publish(events), self.log.append(events), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def deliveries(self, queue: str, *, prefetch: int = 16) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        return self._queues.deliveries(queue, prefetch=prefetch)

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        return await self._queues.dead_letters(queue, limit=limit)

    async def replay_dead_letter(self, queue: str, event_id: str) -> bool:
        return await self._queues.replay_dead_letter(queue, event_id)

    async def drop_dead_letter(self, queue: str, event_id: str) -> bool:
        return await self._queues.drop_dead_letter(queue, event_id)

    async def depths(self) -> list[QueueDepth]:
        return await self._queues.depths()

    async def queued(self, queue: str, *, limit: int = 100) -> list[QueuedEvent] | None:
        return await self._queues.queued(queue, limit=limit)

    async def healthy(self) -> bool:
        return all(await asyncio.gather(self._queues.healthy(), self.log.healthy()))

    async def close(self) -> None:
        await self._queues.close()
        await self.log.close()
