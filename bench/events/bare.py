"""Floor of an event log: SQLite, aio-pika and aiokafka with the durability of our adapters, and nothing else.

The same events in the same batches. A reader hands each one, decoded, to the same asynchronous function as an
adapter's reader does: an `Event` with its time and its extension attributes, and where in the log it is. It leaves out
what an adapter is for: no check of what it reads, no position of all partitions, no retention, no second attempt.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import Any, Protocol

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from chassis.broker.cloudevents import KAFKA, PREFIX
from chassis.broker.embedded.store import SCHEMA
from chassis.broker.kafka.address import Address
from chassis.broker.kafka.reader import FETCH_WAIT_MS, READ_BATCH_SIZE
from chassis.broker.kafka.topic import Topic
from chassis.broker.kafka.writer import BATCH_BYTES
from chassis.broker.port import Event
from chassis.broker.rabbitmq.adapter import split_options
from chassis.broker.rabbitmq.connection import PIPELINED
from chassis.broker.rabbitmq.event_log import ACK_EVERY, READ_AHEAD
from chassis.broker.retention import Retention

_POLL_SECONDS = 0.001

Take = Callable[[int], Awaitable[None]]
"""Read so many entries."""

Deliver = Callable[[Event, int, int], Awaitable[None]]
"""Gets each event with its partition and its number there."""


class Log(Protocol):
    """One side of the comparison: appends in batches, and reads from the beginning or only new entries."""

    async def append(self, events: Sequence[Event]) -> None: ...

    def reading(self, deliver: Deliver, *, live: bool) -> AbstractAsyncContextManager[Take]: ...

    async def close(self) -> None: ...


class Sqlite:
    """A table, a commit with its fsync for each batch, and a reader that looks for more every millisecond."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(SCHEMA.partition(";")[0])

    async def append(self, events: Sequence[Event]) -> None:
        now = time.time()
        rows = [(orjson.dumps(_attributes(event, "")).decode(), event.data, now) for event in events]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO log (attributes, data, stored_at) VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    @asynccontextmanager
    async def reading(self, deliver: Deliver, *, live: bool) -> AsyncIterator[Take]:
        (last,) = self._connection.execute("SELECT coalesce(max(position), 0) FROM log").fetchone()
        at = last if live else 0

        async def take(count: int) -> None:
            nonlocal at
            while count > 0:
                rows = self._connection.execute(
                    "SELECT position, attributes, data FROM log WHERE position > ? ORDER BY position LIMIT ?",
                    (at, READ_BATCH_SIZE),
                ).fetchall()
                for position, attributes, data in rows:
                    at = position
                    await deliver(_event(orjson.loads(attributes), data), 0, position)
                count -= len(rows)
                await asyncio.sleep(0 if rows else _POLL_SECONDS)

        yield take

    async def close(self) -> None:
        self._connection.close()


class AioPika:
    """A stream by its name: persistent messages, each confirmed, so many under way at once as the adapter has."""

    def __init__(self, url: str) -> None:
        self._url, prefix, _ = split_options(url)
        self._stream = f"{prefix}bare"
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._channel: aio_pika.abc.AbstractChannel | None = None

    async def _open(self) -> aio_pika.abc.AbstractChannel:
        if self._channel is None:
            self._connection = await aio_pika.connect(self._url)
            self._channel = await self._connection.channel()
            await self._channel.declare_queue(self._stream, durable=True, arguments={"x-queue-type": "stream"})
        return self._channel

    async def append(self, events: Sequence[Event]) -> None:
        exchange = (await self._open()).default_exchange
        remaining = iter(events)
        while batch := list(islice(remaining, PIPELINED)):
            await asyncio.gather(*(exchange.publish(_message(event), self._stream) for event in batch))

    @asynccontextmanager
    async def reading(self, deliver: Deliver, *, live: bool) -> AsyncIterator[Take]:
        await self._open()
        assert self._connection is not None
        async with self._connection.channel() as channel:
            await channel.set_qos(READ_AHEAD)
            queue = await channel.get_queue(self._stream, ensure=False)
            arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            begin: dict[str, Any] = {"x-stream-offset": "next" if live else "first"}
            tag = await queue.consume(_into(arrived), arguments=begin)
            await channel.set_qos(READ_AHEAD)
            underlay = await channel.get_underlay_channel()

            async def take(count: int) -> None:
                for number in range(1, count + 1):
                    message = await arrived.get()
                    headers: dict[str, Any] = message.headers
                    offset = headers.pop("x-stream-offset")
                    attributes = {name.removeprefix(PREFIX): value for name, value in headers.items()}
                    await deliver(_event(attributes, message.body), 0, offset)
                    if number % ACK_EVERY == 0:
                        await underlay.basic_ack(message.delivery_tag or 0, multiple=True, wait=False)

            yield take
            await queue.cancel(tag)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class AioKafka:
    """A producer that waits for all in-sync replicas, and a consumer of all partitions without a group."""

    def __init__(self, url: str) -> None:
        self._address = Address.parse(url)
        self._producer: AIOKafkaProducer | None = None

    async def append(self, events: Sequence[Event]) -> None:
        if self._producer is None:
            topic = Topic(self._address, Retention())
            await topic.partitions()
            await topic.close()
            idempotent = self._address.idempotent
            self._producer = AIOKafkaProducer(
                **self._address.client(), acks="all", enable_idempotence=idempotent, max_batch_size=BATCH_BYTES
            )
            await self._producer.start()
        sent = [
            await self._producer.send(self._address.topic, event.data, event.subject.encode(), headers=_headers(event))
            for event in events
        ]
        await asyncio.gather(*sent)

    @asynccontextmanager
    async def reading(self, deliver: Deliver, *, live: bool) -> AsyncIterator[Take]:
        options = {"enable_auto_commit": False, "fetch_max_wait_ms": FETCH_WAIT_MS}
        consumer = AIOKafkaConsumer(**self._address.client(), **options)
        await consumer.start()
        try:
            partitions = [TopicPartition(self._address.topic, index) for index in range(self._address.partitions)]
            consumer.assign(partitions)
            if live:
                # Where each ends, and not "the end": that is looked up at the first fetch, when more may be there.
                for partition, end in (await consumer.end_offsets(partitions)).items():
                    consumer.seek(partition, end)
            else:
                await consumer.seek_to_beginning()

            async def take(count: int) -> None:
                while count > 0:
                    for records in (await consumer.getmany(timeout_ms=500, max_records=READ_BATCH_SIZE)).values():
                        for record in records:
                            attributes = {name.removeprefix(KAFKA): value.decode() for name, value in record.headers}
                            event = _event(attributes, record.value or b"")
                            await deliver(event, record.partition, record.offset)
                        count -= len(records)

            yield take
        finally:
            await consumer.stop()

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


def bare(url: str) -> Log:
    """The bare log at the URL that its adapter has."""
    scheme, _, path = url.partition(":")
    kinds: dict[str, Callable[[str], Log]] = {"embedded": lambda _: Sqlite(path), "amqp": AioPika, "kafka": AioKafka}
    return kinds[scheme](url)


def _attributes(event: Event, prefix: str) -> dict[str, str]:
    return {
        f"{prefix}specversion": "1.0",
        f"{prefix}id": event.id,
        f"{prefix}source": event.source,
        f"{prefix}type": event.type,
        f"{prefix}subject": event.subject,
        f"{prefix}time": event.time.isoformat(),
        **{prefix + name: value for name, value in event.extensions.items()},
    }


def _event(attributes: dict[str, str], data: bytes) -> Event:
    """The event of attributes that are taken to be there, and to be what they should."""
    del attributes["specversion"]
    take = attributes.pop
    time_ = datetime.fromisoformat(take("time"))
    return Event(take("id"), take("type"), take("source"), take("subject"), time_, data, attributes)


def _message(event: Event) -> aio_pika.Message:
    headers: Any = _attributes(event, PREFIX)
    persistent = aio_pika.DeliveryMode.PERSISTENT
    return aio_pika.Message(event.data, headers=headers, content_type="application/json", delivery_mode=persistent)


def _headers(event: Event) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in _attributes(event, KAFKA).items()]


def _into(arrived: asyncio.Queue[AbstractIncomingMessage]) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def on_message(message: AbstractIncomingMessage) -> None:
        arrived.put_nowait(message)

    return on_message
