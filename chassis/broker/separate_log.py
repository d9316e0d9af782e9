"""Work queues beside an event log of another system."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from chassis.broker.event_log import EventLog
from chassis.broker.forwarding import ForwardingBroker
from chassis.broker.port import Broker, Event

# Far more than an outbox relay publishes at once. A caller may give up, so that there has to be a bound.
_MAX_REMEMBERED = 10_000


class BrokerWithLog(ForwardingBroker):
    """The broker port's promises over a broker for the queues and a log that is not its own."""

    def __init__(self, queues: Broker, log: EventLog) -> None:
        """`queues`: keeps no log of what is published. Both are closed with this."""
        super().__init__(queues)
        self.log = log
        self._both = (_Receiver(queues.publish), _Receiver(log.append))

    async def publish(self, events: Sequence[Event]) -> None:
        """Returns once both have every event. After an error the caller tries again.

        That goes only to the one which has not confirmed them: else each attempt, while the other one is away, would be
        one more copy. Repeats are left where one was not confirmed, or another process tries again.
        """
        # Both to their ends: what is still under way to the one would overtake the next attempt.
        outcomes = await asyncio.gather(*(each.publish(events) for each in self._both), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        for each in self._both:
            each.forget(events)

    async def healthy(self) -> bool:
        return all(await asyncio.gather(super().healthy(), self.log.healthy()))

    async def close(self) -> None:
        await super().close()
        await self.log.close()


class _Receiver:
    """One of the two that get each event, and what it has confirmed while the other one may not have."""

    def __init__(self, send: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        self._send = send
        self._confirmed: dict[str, None] = {}

    async def publish(self, events: Sequence[Event]) -> None:
        missing = [event for event in events if event.id not in self._confirmed]
        if not missing:
            return
        await self._send(missing)
        self._confirmed.update(dict.fromkeys(event.id for event in missing))
        while len(self._confirmed) > _MAX_REMEMBERED:
            del self._confirmed[next(iter(self._confirmed))]

    def forget(self, events: Sequence[Event]) -> None:
        for event in events:
            self._confirmed.pop(event.id, None)
