"""The event log as a RabbitMQ stream, whose offsets count from 0 where our positions count from 1.

Offsets grow but have gaps, since the stream spends some on its own notes whenever it begins a new segment file. So a
gap alone does not mean that retention has passed a reader; a stream that now begins behind it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from chassis.broker import cloudevents
from chassis.broker.event_log import LogEntry, LogReader, Position, PositionExpired
from chassis.broker.port import BrokerUnavailable, Event
from chassis.broker.rabbitmq.connection import Outgoing, Publisher, ReopeningConnection, translated
from chassis.broker.rabbitmq.queues import RECONNECT_PAUSES, consume, headers_of

logger = logging.getLogger(__name__)

READ_AHEAD = 256
ACK_EVERY = READ_AHEAD // 4
ENTRY_TIMEOUT = 2.0
# A stream does not show where it ends. What was confirmed before the request arrives at once, but for a busy server.
EMPTY_TIMEOUT = 1.0
QUIET = 0.05


@dataclass(eq=False)
class RabbitLog:
    """The log port's promises over one stream, which is one partition. It is closed with its broker."""

    _link: ReopeningConnection
    _publisher: Publisher
    _stream: str
    # Keeps a subscription until its context, or the broker, is left.
    _subscribed: Callable[[LogSubscription], AbstractAsyncContextManager[None]]
    _healthy: Callable[[], Awaitable[bool]]
    system = "rabbitmq"

    async def append(self, events: Sequence[Event]) -> None:
        # By the default exchange: the shop's own would take them to the work queues, too.
        messages = [Outgoing("", self._stream, cloudevents.headers(event), event.data) for event in events]
        await self._publisher.publish(messages)

    @asynccontextmanager
    async def tail(self, after: Position | None = None, *, upto: Position | None = None) -> AsyncIterator[LogReader]:
        begin = None if after is None else after.in_one_partition()
        subscription = LogSubscription(self._link, self._stream, None if upto is None else upto.in_one_partition())
        async with self._subscribed(subscription):
            await subscription.start(begin)
            yield subscription

    def read_partitions(self, after: Mapping[int, int]) -> AbstractAsyncContextManager[LogReader]:
        return self.tail(Position.at(after[0]))

    async def last_position(self) -> Position:
        return Position.at(await last_position(self._link, self._stream))

    async def partitions(self) -> int:
        return 1

    async def healthy(self) -> bool:
        return await self._healthy()

    async def close(self) -> None:
        """Nothing of its own is open."""


class Reader:
    """One consumer of the stream on one channel."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        self._unacked = 0
        self._last_tag = 0

    async def start(self, log: str, offset: int | str) -> str:
        """Consume from an offset, `first`, `last` or `next`; the consumer's tag."""
        self._channel.close_callbacks.add(self._on_close)
        underlay = await self._channel.get_underlay_channel()
        # RabbitMQ cancels a consumer whose stream was deleted, or whose replica of it went down, without any reason.
        underlay.on_consumer_cancel_callbacks.add(self._on_close)
        await self._channel.set_qos(READ_AHEAD)
        tag = await consume(underlay, log, self._on_message, {"x-stream-offset": offset})
        # RabbitMQ answers before it attaches to the stream. It takes a channel's requests one by one, so the answer
        # to another one confirms that it is attached: what is published from now on comes after `next`.
        await self._channel.set_qos(READ_AHEAD)
        return tag

    async def next(self) -> tuple[int, DeliveredMessage]:
        """The next message and its position. Raises `BrokerUnavailable` once the channel is closed."""
        if self._unacked >= ACK_EVERY:
            # Settles nothing; it requests more. Before the message is taken: a cancelled call must not lose one.
            with translated():
                underlay = await self._channel.get_underlay_channel()
                await underlay.basic_ack(self._last_tag, multiple=True, wait=False)
            self._unacked = 0
        message = await self._arrived.get()
        if message is None:
            raise BrokerUnavailable("the connection was closed, or the stream was deleted")
        self._unacked += 1
        self._last_tag = message.delivery_tag or 0
        return int(str(headers_of(message)["x-stream-offset"])) + 1, message

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._arrived.put_nowait(message)

    async def _on_close(self, *_: object) -> None:
        self._arrived.put_nowait(None)


@asynccontextmanager
async def reading(link: ReopeningConnection, log: str, offset: int | str) -> AsyncIterator[Reader]:
    """Consume the stream on a channel of its own."""
    async with link.channel() as channel:
        reader = Reader(channel)
        tag = await reader.start(log, offset)
        try:
            yield reader
        finally:
            if not channel.is_closed:
                underlay = await channel.get_underlay_channel()
                await underlay.basic_cancel(tag)


async def first_position(link: ReopeningConnection, log: str) -> int:
    """First offset of a stream that is not empty. Raises `BrokerUnavailable`."""
    async with reading(link, log, "first") as reader, asyncio.timeout(ENTRY_TIMEOUT):
        position, _ = await reader.next()
        return position


async def last_position(link: ReopeningConnection, log: str) -> int:
    """The newest position, 0 when the stream is empty. While others publish it may be a few entries old.

    Raises `BrokerUnavailable` for one that is not empty, but of which nothing arrives in time.
    """
    position = 0
    async with reading(link, log, "last") as reader:
        try:
            async with asyncio.timeout(EMPTY_TIMEOUT):
                position, _ = await reader.next()
                while True:
                    async with asyncio.timeout(QUIET):
                        position, _ = await reader.next()
        except TimeoutError:
            # Taken for empty, a log that is only slow would be read from its beginning.
            if not position and await _holds_messages(link, log):
                raise BrokerUnavailable("the stream holds messages, but its server sends none in time") from None
            return position


async def _holds_messages(link: ReopeningConnection, log: str) -> bool:
    """Whether RabbitMQ counts any message; its count is seconds old, and may be 0 for a new or recovered stream."""
    async with link.channel() as channel:
        with translated():
            found = await channel.declare_queue(log, passive=True)
    return bool(found.declaration_result.message_count)


class LogSubscription:
    """Reads the log on from a position, up to another one if there is one, across lost connections."""

    def __init__(self, link: ReopeningConnection, log: str, upto: int | None) -> None:
        self._link = link
        self._log = log
        self._upto = upto
        self._seen = 0
        self._next: tuple[int, DeliveredMessage] | None = None
        self._reader: Reader | None = None
        self._attached = AsyncExitStack()
        self._stopped = False
        self.trouble = ""

    async def start(self, after: int | None) -> None:
        """Attach to the stream. Raises `PositionExpired` and `BrokerUnavailable`."""
        if after is None:
            self._seen = await last_position(self._link, self._log)
            self._reader = await self._attached.enter_async_context(reading(self._link, self._log, "next"))
            return
        self._seen = after
        try:
            await self._attach()
        except TimeoutError:
            await self._detach()
            raise PositionExpired(f"the log does not reach position {after}") from None
        except PositionExpired:
            await self._detach()
            raise

    async def stop(self) -> None:
        """Detach, and end the iteration."""
        self._stopped = True
        await self._detach()

    @property
    def position(self) -> Position:
        return Position.at(self._seen)

    def __aiter__(self) -> LogSubscription:
        return self

    async def __anext__(self) -> LogEntry:
        failures = 0
        while not (self._stopped or (self._upto is not None and self._seen >= self._upto)):
            try:
                position, message = await self._peek()
                self._next, self._seen = None, position
                return LogEntry(Position.at(position), cloudevents.event(headers_of(message), message.body))
            except cloudevents.InvalidEvent as error:
                logger.warning("event log: skipped invalid event at position %d: %s", self._seen, error)
            except (BrokerUnavailable, TimeoutError) as error:
                await self._detach()
                self.trouble = str(error) or "the log did not answer in time"
                pause = RECONNECT_PAUSES[min(failures, len(RECONNECT_PAUSES) - 1)]
                logger.warning("event log unavailable, retrying in %.1f s: %s", pause, self.trouble)
                failures += 1
                await asyncio.sleep(pause)
        raise StopAsyncIteration

    async def _peek(self) -> tuple[int, DeliveredMessage]:
        """The entry after what was seen. It stays until it is taken: a cancelled call loses nothing."""
        reader = self._reader or await self._attach()
        while self._next is None or self._next[0] <= self._seen:
            self._next = await reader.next()
        await self._check_gap(self._next[0])
        return self._next

    async def _attach(self) -> Reader:
        """Consume from what was seen last on, which the stream holds unless retention has passed it.

        Raises `TimeoutError` when it does not come, and `PositionExpired`.
        """
        offset = self._seen - 1 if self._seen else "first"
        reader = await self._attached.enter_async_context(reading(self._link, self._log, offset))
        if self._seen:
            try:
                async with asyncio.timeout(ENTRY_TIMEOUT):
                    self._next = await reader.next()
            except TimeoutError:
                await self._check_end()
                raise
            if self._next[0] < self._seen:
                # RabbitMQ has no such offset, and gave what was appended meanwhile.
                raise PositionExpired(f"the log ends before {self._seen}, the last one read: the log was recreated")
            await self._check_gap(self._next[0])
        self._reader = reader
        self.trouble = ""
        return reader

    async def _check_gap(self, position: int) -> None:
        if self._seen and position > self._seen + 1:
            first = await first_position(self._link, self._log)
            if first > self._seen + 1:
                raise PositionExpired(f"the log begins at position {first}, after {self._seen} was read")

    async def _check_end(self) -> None:
        """Raise `PositionExpired` for a log that ends before what was read: it is not the one that was read."""
        last = await last_position(self._link, self._log)
        if last < self._seen:
            raise PositionExpired(
                f"the log ends at position {last}, before {self._seen}, the last one read: the log was recreated"
            )

    async def _detach(self) -> None:
        self._reader = self._next = None
        with suppress(BrokerUnavailable):
            await self._attached.aclose()
