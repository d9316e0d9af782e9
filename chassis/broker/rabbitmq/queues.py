"""Consuming a work queue, and what waits beside it for its next attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import cast
from uuid import uuid4
from weakref import WeakSet

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import ConsumerCallback, DeliveredMessage
from pamqp.common import FieldValue

from chassis import wall_clock
from chassis.background import forever
from chassis.broker import cloudevents
from chassis.broker.port import BrokerUnavailable, Event
from chassis.broker.rabbitmq import captured
from chassis.broker.rabbitmq.connection import Outgoing, Publisher, ReopeningConnection, translated
from chassis.broker.rabbitmq.topology import Names
from chassis.observability.capture.messages import Message

logger = logging.getLogger(__name__)

ATTEMPT = "x-attempt"
NOT_BEFORE = "x-not-before"  # milliseconds since the epoch
WAITS = "x-waits"  # milliseconds from when NOT_BEFORE was written until then
REASON = "x-reason"
DIED_AT = "x-died-at"  # milliseconds since the epoch
DEAD_ID = "x-event-id"

# How many delayed deliveries each consumer keeps an eye on. Past that many of the same queue, a short delay may wait
# behind long ones.
DELAYED_PREFETCH = 1_000
# RabbitMQ closes a channel that holds a message for 30 minutes.
MAX_HOLD = 600.0
RECONNECT_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class QueueSubscription:
    """Receives from a work queue and hands the deliveries out one after the other, across lost connections.

    A delayed delivery lies in `<queue>.retry`. Each consumer of the queue receives from there too, holds what is not
    due yet, and moves what is. A message TTL would need no such holder, but expires only at the head of a queue: one
    long delay would hold up all short ones behind it.
    """

    def __init__(
        self, link: ReopeningConnection, publisher: Publisher, names: Names, queue: str, prefetch: int
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._queue = names.queue(queue)
        self._retry = names.retry(queue)
        self._dead = names.dead(queue)
        self._prefetch = prefetch
        self._arrived: asyncio.Queue[HeldDelivery | None] = asyncio.Queue()
        self._receiver: asyncio.Task[None] | None = None
        self._moving: set[asyncio.Task[None]] = set()
        self._delayed: dict[asyncio.Task[None], datetime] = {}
        self._left: WeakSet[UnderlayChannel] = WeakSet()
        self._deleted = False  # one of the queues, while the connection lives

    def __aiter__(self) -> QueueSubscription:
        return self

    async def __anext__(self) -> HeldDelivery:
        while (delivery := await self._arrived.get()) is not None:
            if self._holds(delivery.message):  # what a lost connection brought will come again
                return delivery
        raise StopAsyncIteration

    def delayed(self) -> Sequence[datetime]:
        return tuple(self._delayed.values())

    def start(self) -> None:
        """Receive from here on."""
        self._receiver = asyncio.create_task(forever(self._receive, name=f"consumer of {self._queue}", every=0))

    async def stop(self) -> None:
        """Give back what is not settled, and end the iteration."""
        if self._receiver is None:
            return
        receiver, self._receiver = self._receiver, None
        receiver.cancel()
        await asyncio.gather(receiver, return_exceptions=True)
        self._arrived.put_nowait(None)

    async def ack(self, message: DeliveredMessage) -> None:
        """Take a message out of its queue. Raises `BrokerUnavailable` when it went back there."""
        if not self._holds(message):
            raise BrokerUnavailable("the delivery went back to its queue")
        with translated():
            # Without a wait until it has left: that it has arrived is not confirmed anyway.
            await message.channel.basic_ack(cast("int", message.delivery_tag), wait=False)

    async def retry_later(self, message: DeliveredMessage, delay: float) -> None:
        """Move a delivery to where it waits for its next attempt."""
        await self._move(message, self._retry, {ATTEMPT: attempt_of(headers_of(message)) + 1, **_until(delay)})

    async def dead_letter(self, message: DeliveredMessage, event_id: str, reason: str) -> None:
        """Move a delivery to the dead letters."""
        await self._move(message, self._dead, {DEAD_ID: event_id, REASON: reason, DIED_AT: _milliseconds()})

    async def _receive(self) -> None:
        if self._deleted:
            await self._link.prepare()
            self._deleted = False
        async with self._link.channel() as channel, self._consuming(channel) as ended:
            await ended.wait()
        raise BrokerUnavailable("the connection was closed, or the queue was deleted")

    @asynccontextmanager
    async def _consuming(self, channel: AbstractChannel) -> AsyncIterator[asyncio.Event]:
        """Consume until the context is left; the event is set once RabbitMQ sends no more."""
        ended = asyncio.Event()

        def on_close(*_: object) -> None:
            ended.set()

        def on_cancel(_: object) -> None:
            self._deleted = True
            ended.set()

        channel.close_callbacks.add(on_close)
        underlay = await channel.get_underlay_channel()
        # RabbitMQ cancels a consumer whose queue was deleted, and leaves its channel open.
        underlay.on_consumer_cancel_callbacks.add(on_cancel)
        try:
            await channel.set_qos(self._prefetch)  # for each consumer that starts from here on
            work = await consume(underlay, self._queue, self._on_delivery)
            await channel.set_qos(DELAYED_PREFETCH)
            retry = await consume(underlay, self._retry, self._on_delayed)
        except ChannelNotFoundEntity:
            self._deleted = True
            raise
        try:
            yield ended
        finally:
            # A delivery or an acknowledgement on a closing channel would take the whole connection down.
            self._left.add(underlay)
            for task in self._moving:
                task.cancel()
            if not channel.is_closed:
                await underlay.basic_cancel(work)
                await underlay.basic_cancel(retry)

    async def _on_delivery(self, message: DeliveredMessage) -> None:
        try:
            event = cloudevents.event(headers_of(message), message.body)
        except cloudevents.InvalidEvent as error:
            self._start(self._dead_letter_foreign(message, f"InvalidEvent: {error}"))
        else:
            self._arrived.put_nowait(HeldDelivery(self, message, event))

    async def _dead_letter_foreign(self, message: DeliveredMessage, reason: str) -> None:
        logger.error("%s: message dead-lettered after %s", self._queue, reason)
        await self.dead_letter(message, f"unparseable-{uuid4()}", reason)

    async def _on_delayed(self, message: DeliveredMessage) -> None:
        task = self._start(self._move_when_due(message))
        with suppress(cloudevents.InvalidEvent):  # one that a person put there is moved, and then a dead letter
            self._delayed[task] = cloudevents.event(headers_of(message), message.body).time

    async def _move_when_due(self, message: DeliveredMessage) -> None:
        wait = _left_to_wait(message)
        await asyncio.sleep(min(wait, MAX_HOLD))
        if wait <= MAX_HOLD:
            await self._move(message, self._queue, {})
        else:
            await self._move(message, self._retry, _until(wait - MAX_HOLD))

    def _start(self, moving: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(moving)
        self._moving.add(task)
        task.add_done_callback(self._moved)
        return task

    def _moved(self, task: asyncio.Task[None]) -> None:
        self._moving.discard(task)
        self._delayed.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("%s: message not moved, so it will be redelivered: %s", self._queue, error)

    async def _move(self, message: DeliveredMessage, queue: str, headers: Mapping[str, FieldValue]) -> None:
        """Put a message with changed headers into another queue, and only then take it out of its own."""
        try:
            await self._publisher.publish([Outgoing("", queue, {**headers_of(message), **headers}, message.body)])
        except BrokerUnavailable:
            with suppress(BrokerUnavailable), translated():
                if self._holds(message):
                    await message.channel.basic_nack(cast("int", message.delivery_tag), requeue=True)
            raise
        await self.ack(message)

    def _holds(self, message: DeliveredMessage) -> bool:
        """Whether the channel that brought a message is still ours."""
        return not message.channel.is_closed and message.channel not in self._left


class HeldDelivery:
    """One unacknowledged message of a work queue."""

    def __init__(self, subscription: QueueSubscription, message: DeliveredMessage, event: Event) -> None:
        self._subscription = subscription
        self.message = message
        self.event = event
        self.attempt = attempt_of(headers_of(message))

    def on_wire(self) -> Message:
        return captured.delivered(self.message)

    async def ack(self) -> None:
        await self._subscription.ack(self.message)

    async def retry(self, delay: float, reason: str) -> None:
        logger.debug("event %s is retried in %.1f s: %s", self.event.id, delay, reason)
        await self._subscription.retry_later(self.message, delay)

    async def dead_letter(self, reason: str) -> None:
        await self._subscription.dead_letter(self.message, self.event.id, reason)


async def consume(
    channel: UnderlayChannel, queue: str, handle: ConsumerCallback, arguments: Mapping[str, FieldValue] | None = None
) -> str:
    """Handle the messages of a queue as they arrive, each in a task; returns the consumer's tag.

    Not aio-pika's `Queue.consume`, which wraps each in a message and a task of its own: 36 us a delivery.
    """
    started = await channel.basic_consume(queue, handle, arguments=dict(arguments or {}))
    return started.consumer_tag or ""


def headers_of(message: DeliveredMessage) -> Mapping[str, FieldValue]:
    """Headers of a message."""
    return message.header.properties.headers or {}


def attempt_of(headers: Mapping[str, object]) -> int:
    """Attempt number of a delivery; the broker's own redeliveries do not count."""
    return _integer(headers, ATTEMPT, 1)


def _integer(headers: Mapping[str, object], header: str, default: int) -> int:
    value = headers.get(header)
    return value if isinstance(value, int) else default


def _until(delay: float) -> Mapping[str, FieldValue]:
    """The headers of a message that waits for so many seconds from now on."""
    return {NOT_BEFORE: _milliseconds(delay), WAITS: int(delay * 1000)}


def _left_to_wait(message: DeliveredMessage) -> float:
    """The seconds until a message is due; at most its whole delay, however far the clock was set back meanwhile."""
    headers = headers_of(message)
    left = _integer(headers, NOT_BEFORE, 0) - _milliseconds()
    return max(0, min(left, _integer(headers, WAITS, left))) / 1000


def _milliseconds(from_now: float = 0) -> int:
    return int((wall_clock.seconds() + from_now) * 1000)
