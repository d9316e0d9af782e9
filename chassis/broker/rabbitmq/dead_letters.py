"""Dead-letter queues on RabbitMQ: a quorum queue, read by getting messages and putting them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aio_pika.abc import AbstractIncomingMessage

from chassis.broker import cloudevents
from chassis.broker.port import MAX_SEARCHED, DeadLetter, Event
from chassis.broker.rabbitmq.connection import Outgoing, Publisher, ReopeningConnection
from chassis.broker.rabbitmq.queues import ATTEMPT, DEAD_ID, DIED_AT, NOT_BEFORE, REASON, WAITS, attempt_of
from chassis.broker.rabbitmq.topology import Names

_ADDED = {ATTEMPT, NOT_BEFORE, WAITS, REASON, DIED_AT, DEAD_ID}


class DeadLetterQueues:
    """Dead-letter queues. A dead letter that is taken is invisible to other readers until it is put back."""

    def __init__(self, link: ReopeningConnection, publisher: Publisher, names: Names) -> None:
        self._link = link
        self._publisher = publisher
        self._names = names
        self._looking = asyncio.Lock()

    async def list(self, queue: str, limit: int) -> list[DeadLetter]:
        """The oldest dead letters."""
        async with self._taking(queue, limit) as messages:
            found = [_dead_letter(queue, message) async for message in messages]
        return sorted(found, key=lambda letter: letter.died_at)

    async def take_out(self, queue: str, event_ids: AbstractSet[str], *, replay: bool) -> set[str]:
        """Forget one of each id, or put it back into its work queue, as it was before its first attempt.

        Returns the ids that were found.
        """
        found: set[str] = set()
        async with self._taking(queue, MAX_SEARCHED) as messages:
            async for message in messages:
                id_ = str(message.headers.get(DEAD_ID, ""))
                if id_ in event_ids - found:
                    if replay:
                        headers = {name: value for name, value in message.headers.items() if name not in _ADDED}
                        await self._publisher.publish([Outgoing("", self._names.queue(queue), headers, message.body)])
                    await message.ack()
                    found.add(id_)
                    if found == event_ids:
                        break
        return found

    @asynccontextmanager
    async def _taking(self, queue: str, limit: int) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
        """Take messages one after the other; on leaving, what was not acknowledged goes back to its place."""
        async with self._looking, self._link.channel() as channel:
            dead = await channel.get_queue(self._names.dead(queue), ensure=False)
            taken: list[AbstractIncomingMessage] = []

            async def take() -> AsyncIterator[AbstractIncomingMessage]:
                for _ in range(limit):
                    message = await dead.get(fail=False)
                    if message is None:
                        return
                    taken.append(message)
                    yield message

            try:
                yield take()
            finally:
                # Closing the channel would put them back too, but only some time later.
                kept = [message for message in taken if not message.processed]
                if kept:
                    await kept[-1].nack(multiple=True, requeue=True)


def _dead_letter(queue: str, message: AbstractIncomingMessage) -> DeadLetter:
    died_at = message.headers.get(DIED_AT)
    when = datetime.fromtimestamp(died_at / 1000 if isinstance(died_at, int) else 0, UTC)
    id_ = str(message.headers.get(DEAD_ID, ""))
    try:
        event = cloudevents.event(message.headers, message.body)
    except cloudevents.InvalidEvent:
        # What could not be parsed is shown as it came.
        headers = {name: str(value) for name, value in message.headers.items() if name not in _ADDED}
        event = Event(id_, "unparseable", "unknown", "", when, message.body, headers)
    return DeadLetter(id_, queue, event, str(message.headers.get(REASON, "")), attempt_of(message.headers), when)
