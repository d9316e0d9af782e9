"""Appending to the topic: an idempotent producer that waits for all in-sync replicas.

The key is the event's subject, so that all about one aggregate is in one partition, in order. The producer numbers what
it sends, so that a broker drops what reaches it twice; over the producer's own death that does not reach, and the
outbox relay's next attempt leaves a repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from chassis.broker.kafka.address import REQUEST_TIMEOUT_MS, Address
from chassis.broker.kafka.closing import closed
from chassis.broker.kafka.failures import translated
from chassis.broker.kafka.records import Record
from chassis.broker.kafka.topic import MAX_MESSAGE_BYTES, Topic
from chassis.broker.kafka.traced import Tracer, keep_places
from chassis.broker.port import BrokerUnavailable, Event

# The producer gives a batch up after REQUEST_TIMEOUT_MS: so this ends only what it has lost track of.
APPEND_TIMEOUT = REQUEST_TIMEOUT_MS / 1000 + 5
BATCH_BYTES = 256 << 10


class Writer:
    """One producer at a time, opened when it is needed and there is none."""

    def __init__(self, address: Address, topic: Topic, tracer: Tracer) -> None:
        self._address = address
        self._topic = topic
        self._tracer = tracer
        self._opening = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._closed = False

    async def append(self, events: Sequence[Event]) -> None:
        """Returns once every event is on all in-sync replicas. Raises `BrokerUnavailable` and `InvalidEvent`."""
        if not events:
            return
        with self._tracer.appending(events) as traced, translated():
            keep_places(traced, await self._send([record for record, _ in traced]))

    async def _send(self, records: Sequence[Record]) -> Sequence[RecordMetadata]:
        """The position of each record, once all are on all in-sync replicas."""
        producer = await self._open()
        try:
            async with asyncio.timeout(APPEND_TIMEOUT):
                sent = [
                    await producer.send(self._address.topic, record.value, key=record.key, headers=record.headers)
                    for record in records
                ]
                # All of them: what is still under way would overtake the next attempt.
                outcomes = await asyncio.gather(*sent, return_exceptions=True)
        except Exception:
            await self._drop(producer)
            raise
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                # Its numbering has a gap now, which the broker would not accept.
                await self._drop(producer)
                raise outcome
        return outcomes

    async def close(self) -> None:
        """Give the producer up, for good."""
        self._closed = True
        if self._producer is not None:
            await self._drop(self._producer)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._closed:
                raise BrokerUnavailable("the event log is closed")
            if self._producer is None:
                await self._topic.partitions()  # creates it where it is missing
                producer = AIOKafkaProducer(
                    **self._address.client(),
                    acks="all",
                    enable_idempotence=self._address.idempotent,
                    max_request_size=MAX_MESSAGE_BYTES,
                    max_batch_size=BATCH_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    await closed(producer.stop)
                    raise
                self._producer = producer
            return self._producer

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await closed(producer.stop)
