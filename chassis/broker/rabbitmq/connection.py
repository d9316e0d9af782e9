"""A RabbitMQ connection that reconnects, and publishing over it.

Not aio-pika's robust connection: that restores channels and consumers behind the caller's back, while here each
subscription opens its own again, from where it was. So a plain connection is opened when it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import cast

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, DeliveryMode
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.common import FieldValue

from chassis.broker import cloudevents
from chassis.broker.cloudevents import CONTENT_TYPE
from chassis.broker.port import BrokerUnavailable
from chassis.broker.rabbitmq import captured
from chassis.observability.capture import capture

CONNECT_TIMEOUT = 5.0
PREPARE_TIMEOUT = 30.0
PUBLISH_TIMEOUT = 10.0
CLOSE_TIMEOUT = 5.0
PIPELINED = 256

Prepare = Callable[[AbstractChannel], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way: to an exchange with a routing key, or to a queue by the default exchange (`""`)."""

    exchange: str
    routing_key: str
    headers: Mapping[str, FieldValue]
    body: bytes

    def properties(self) -> Basic.Properties:
        return Basic.Properties(
            content_type=CONTENT_TYPE, delivery_mode=DeliveryMode.PERSISTENT.value, headers=dict(self.headers)
        )


@contextmanager
def translated() -> Iterator[None]:
    """Make every way in which a lost or silent broker shows itself a `BrokerUnavailable`."""
    try:
        yield
    except asyncio.CancelledError as error:
        # aiormq ends what was in flight on a closed connection with a CancelledError: this task was not cancelled.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("the connection was closed") from error
    except (*CONNECTION_EXCEPTIONS, TimeoutError) as error:
        raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error


class ReopeningConnection:
    """One connection at a time, opened when it is needed and there is none."""

    def __init__(self, url: str, prepare: Prepare) -> None:
        """`prepare` runs on each new connection before anything else does."""
        self._url = url
        self._prepare = prepare
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def connection(self) -> AbstractConnection:
        """The live connection. Raises `BrokerUnavailable`."""
        async with self._opening:
            if self._closed:
                raise BrokerUnavailable("the broker is closed")
            if self._connection is None or not self._connection.connected.is_set():
                await self._drop()
                self._connection = await self._open()
            return self._connection

    async def _open(self) -> AbstractConnection:
        with translated():
            connection = await aio_pika.connect(self._url, timeout=CONNECT_TIMEOUT)
            try:
                async with asyncio.timeout(PREPARE_TIMEOUT), connection.channel() as channel:
                    await self._prepare(channel)
            except BaseException:
                await _close(connection)
                raise
            return connection

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel of its own, closed on leaving. Raises `BrokerUnavailable` for whatever befalls it meanwhile."""
        with translated():
            channel = await _initialized((await self.connection()).channel())
            try:
                yield channel
            finally:
                await _close(channel)

    async def prepare(self) -> None:
        """Prepare the live connection again: what that had declared was deleted. Raises `BrokerUnavailable`."""
        async with self.channel() as channel, asyncio.timeout(PREPARE_TIMEOUT):
            await self._prepare(channel)

    async def close(self) -> None:
        """Give the connection up, for good."""
        async with self._opening:
            self._closed = True
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)


class Publisher:
    """Publishes on one channel, in order, many messages in flight, each confirmed."""

    def __init__(self, link: ReopeningConnection) -> None:
        self._link = link
        self._opening = asyncio.Lock()
        self._channel: AbstractChannel | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Returns once every message is confirmed by each queue it went to. Raises `BrokerUnavailable`."""
        with translated():
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                remaining = iter(messages)
                while batch := list(islice(remaining, PIPELINED)):
                    channel = cast("Channel", await (await self._open()).get_underlay_channel())
                    # While RabbitMQ blocks the connection, aiormq keeps what is published and writes it afterwards:
                    # each attempt would be one more copy.
                    await channel.connection.ready()
                    # Tasks start in this order, and the channel writes in the order in which they start.
                    await asyncio.gather(*(_publish(channel, outgoing) for outgoing in batch))

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                # Without `on_return_raises` a message that no queue takes would vanish quietly.
                self._channel = await _initialized((await self._link.connection()).channel(on_return_raises=True))
            return self._channel


async def _publish(channel: Channel, outgoing: Outgoing) -> None:
    properties = outgoing.properties()
    traceparent = outgoing.headers.get(cloudevents.PREFIX + "traceparent")
    if isinstance(traceparent, str) and (span := capture.open_span(traceparent)) is not None:
        kept = captured.published(outgoing.exchange, outgoing.routing_key, properties, outgoing.body)
        capture.sent(span, kept)
    # aio-pika's own would wait until each message has left before the next one is written; the confirmation shows more.
    await channel.basic_publish(
        outgoing.body,
        exchange=outgoing.exchange,
        routing_key=outgoing.routing_key,
        properties=properties,
        mandatory=True,
        wait=False,
    )


async def _initialized(channel: AbstractChannel) -> AbstractChannel:
    """The channel, once it is open. aio-pika takes a timeout for that and pays no heed to it.

    On a connection that RabbitMQ has blocked, for want of memory or disk, none opens before the alarm is over.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT):
        await channel.initialize()
    return channel


async def _close(closable: AbstractChannel | AbstractConnection) -> None:
    """Close what may be broken already."""
    with suppress(BrokerUnavailable), translated():
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await closable.close()
