"""Reading the topic: a consumer without a group, which reads all partitions and keeps its own position.

Kafka's offsets count from 0 where our positions count from 1: the offset of the next record is the number of those that
were read. It is not committed to the brokers, so any number of readers may be anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, chain

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from chassis import wall_clock
from chassis.broker import cloudevents
from chassis.broker.event_log import LogEntry, Position, PositionExpired
from chassis.broker.kafka.address import Address
from chassis.broker.kafka.closing import closed
from chassis.broker.kafka.failures import translated
from chassis.broker.kafka.records import event_of
from chassis.broker.kafka.topic import Topic
from chassis.broker.port import BrokerUnavailable

logger = logging.getLogger(__name__)

LOG = "k"
READ_BATCH_SIZE = 500
ATTACH_TIMEOUT = 15.0
# The consumer's fetching misses a cancellation while it takes a new assignment; a second one ends it.
CLOSE_TIMEOUT = 1.0
# Milliseconds for which the brokers let a fetch wait for records, and we for the fetch.
FETCH_WAIT_MS = 250
POLL_MS = 500
# Milliseconds without an answer to a fetch after which the log counts as away.
LATE_MS = 5_000
# Seconds for which the log is away after which another consumer is opened: this one's fetching may have ended.
REOPEN_SECONDS = 15.0
_PAUSE = 0.5


class LogSubscription:
    """Reads the log on from a position, up to another one if there is one, across lost connections."""

    def __init__(self, address: Address, topic: Topic, upto: Position | None) -> None:
        self.trouble = ""
        self.position = Position((), LOG)
        self._address = address
        self._topic = topic
        self._upto = upto
        self._consumer = self._new_consumer()
        self._reopening = False
        self._away_since = 0.0
        self._records: deque[ConsumerRecord[bytes, bytes]] = deque()
        # Per partition, the offset of the next record to be fetched.
        self._next: list[int] = []
        # The partitions of a share of the log; None for all, with those that are added.
        self._share: Mapping[int, int] | None = None
        self._began = 0.0
        self._stopped = False

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._address.client(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=1_000,
        )

    async def start(self, after: Position | None) -> None:
        """Begin after a position. Raises `PositionExpired` and `BrokerUnavailable`."""
        async with _attaching():
            if after is not None and not after.is_start and after.log != LOG:
                raise PositionExpired(f"{after} is not a position of a Kafka topic")
            known = 0 if after is None else len(after.offsets)
            count = await self._topic.partitions(at_least=known)
            if known > count:
                raise PositionExpired(f"the log has {count} partitions, and the position is one of {known}")
            await self._consumer.start()
            self._began = wall_clock.seconds() * 1000
            partitions = [self._partition(index) for index in range(count)]
            first = await self._consumer.beginning_offsets(partitions)
            if after is None:
                ends = await self._consumer.end_offsets(partitions)
                self._assign([ends[each] for each in partitions])
                # The end as the answer to a fetch has it: what was appended before this was called is before it.
                await self._see_ends()
                self._records.clear()
                self._next = [self._consumer.highwater(each) or 0 for each in partitions]
                for each in partitions:
                    self._consumer.seek(each, self._next[each.partition])
            elif after.is_start:
                self._assign([first[each] for each in partitions])
            else:
                for each in partitions:
                    if first[each] > after.offset(each.partition):
                        raise _passed(each.partition, first[each], after.offset(each.partition))
                self._assign([after.offset(each.partition) for each in partitions])
                self.position = Position(tuple(self._next), LOG)
                await self._see_ends()
                return
            self.position = Position(tuple(self._next), LOG)

    async def start_share(self, after: Mapping[int, int]) -> None:
        """Begin in these partitions alone, each after an entry's number; for 0 from the oldest entry on.

        Raises `PositionExpired` and `BrokerUnavailable`.
        """
        self._share = after
        async with _attaching():
            count = await self._topic.partitions(at_least=max(after) + 1)
            if max(after) >= count:
                raise PositionExpired(f"the log has {count} partitions, and this is one of {max(after) + 1}")
            await self._consumer.start()
            self._began = wall_clock.seconds() * 1000
            first = await self._consumer.beginning_offsets([self._partition(index) for index in after])
            begin = [0] * count
            for each, oldest in first.items():
                seen = after[each.partition]
                if seen and oldest > seen:
                    raise _passed(each.partition, oldest, seen)
                begin[each.partition] = seen or oldest
            self._assign(begin)
            self.position = Position(tuple(begin), LOG)
            await self._see_ends()

    async def stop(self) -> None:
        """Detach, and end the iteration."""
        self._stopped = True
        self._records.clear()
        await self._close()

    async def _close(self) -> None:
        consumer = self._consumer

        async def close() -> None:
            try:
                await consumer.stop()
            finally:
                # A fetch that was pausing when it was cancelled ends `stop` before it has closed the connections.
                await consumer._client.close()  # noqa: SLF001

        await closed(close, within=CLOSE_TIMEOUT)

    def __aiter__(self) -> LogSubscription:
        return self

    async def __anext__(self) -> LogEntry:
        while True:
            while self._records:
                if (entry := self._entry(self._records.popleft())) is not None:
                    return entry
            if self._stopped or (self._upto is not None and self.position.includes(self._upto)):
                raise StopAsyncIteration
            await self._fetch()

    def _entry(self, record: ConsumerRecord[bytes, bytes]) -> LogEntry | None:
        """The record as an entry; None for one beyond the end, and for what is no event."""
        partition, number = record.partition, record.offset + 1
        if self._upto is not None and not self._upto.has(partition, number):
            return None
        position = self.position = self.position.advanced(partition, number)
        try:
            return LogEntry(position, event_of(record), partition)
        except cloudevents.InvalidEvent as error:
            logger.warning("event log: skipped invalid event %d of partition %d: %s", number, partition, error)
            return None

    async def _fetch(self) -> None:
        """Take the records that have arrived, or wait a moment for some. A cancellation loses none that were taken."""
        try:
            if self._reopening or (self.trouble and time.monotonic() - self._away_since >= REOPEN_SECONDS):
                await self._reopen()
            batches = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=READ_BATCH_SIZE)
        except OffsetOutOfRangeError as error:
            raise await self._out_of_range() from error
        except ConsumerStoppedError:
            self._stopped = True
            return
        except (KafkaError, BrokerUnavailable) as error:
            self._is_away(f"{type(error).__name__}: {error}")
            await asyncio.sleep(_PAUSE)
            return
        self._records.extend(_merged(list(batches.values())))
        for partition, records in batches.items():
            self._next[partition.partition] = records[-1].offset + 1
        if batches:
            self._is_back()
        else:
            await self._look()
        if self._upto is None and self._share is None:
            await self._take_new_partitions()

    async def _look(self) -> None:
        """Find the cause of silence: nothing was appended, the brokers are away, or the log began anew."""
        answered = []
        for partition in self._consumer.assignment():
            index = partition.partition
            end = self._consumer.highwater(partition)
            if end is not None and end < self._next[index]:
                reason = f"partition {index} ends at {end}, before {self._next[index]}, the next one to read"
                raise PositionExpired(f"{reason}: the log was recreated", partition=index)
            answered.append(self._consumer.last_poll_timestamp(partition) or self._began)
            if not self._records:
                # Past what is no record: a transaction's end has an offset, too.
                self._next[index] = max(self._next[index], await self._consumer.position(partition))
                self.position = self.position.advanced(index, self._next[index])
        late = wall_clock.seconds() * 1000 - min(answered, default=self._began)
        if late > LATE_MS:
            self._is_away(f"no answer for {late / 1000:.0f} s")
        else:
            self._is_back()

    def _is_away(self, reason: str) -> None:
        if not self.trouble:
            self._away_since = time.monotonic()
            logger.warning("event log unavailable: %s", reason)
        self.trouble = reason

    def _is_back(self) -> None:
        if self.trouble:
            logger.warning("event log available again")
        self.trouble = ""

    async def _reopen(self) -> None:
        """Go on with another consumer. Raises `BrokerUnavailable`; then the next call tries again."""
        self._reopening = True
        self._away_since = time.monotonic()
        await self._close()
        self._consumer = self._new_consumer()
        async with _attaching():
            await self._consumer.start()
        self._began = wall_clock.seconds() * 1000
        self._assign(self._next)
        self._reopening = False
        if self._stopped:
            await self._close()

    async def _take_new_partitions(self) -> None:
        with suppress(BrokerUnavailable):
            count = await self._topic.partitions()
            if count > len(self._next):
                logger.info("event log: partitions were added", extra={"partitions": count})
                # From their beginning: whatever they hold came after what was read.
                self._assign([*self._next, *[0] * (count - len(self._next))])

    def _assign(self, offsets: list[int]) -> None:
        self._next = offsets
        wanted = [
            self._partition(index)
            for index, offset in enumerate(offsets)
            if (self._upto is None or offset < self._upto.offset(index))
            and (self._share is None or index in self._share)
        ]
        self._consumer.assign(wanted)
        for each in wanted:
            self._consumer.seek(each, offsets[each.partition])

    async def _see_ends(self) -> None:
        """Fetch until each partition's end is known. Raises `PositionExpired` for one before where we begin."""
        while any(self._consumer.highwater(each) is None for each in self._consumer.assignment()):
            await self._fetch()
        await self._look()

    async def _out_of_range(self) -> PositionExpired:
        partitions = list(self._consumer.assignment())
        with translated():
            first = await self._consumer.beginning_offsets(partitions)
        for each in partitions:
            if first[each] > self._next[each.partition]:
                return _passed(each.partition, first[each], self._next[each.partition])
        return PositionExpired("the log ends before the last position read: it was recreated")

    def _partition(self, index: int) -> TopicPartition:
        return TopicPartition(self._address.topic, index)


@asynccontextmanager
async def _attaching() -> AsyncIterator[None]:
    """Bound what attaches to the log in time. Raises `BrokerUnavailable`."""
    with translated():
        async with asyncio.timeout(ATTACH_TIMEOUT):
            yield


def _merged(batches: Sequence[Sequence[ConsumerRecord[bytes, bytes]]]) -> Iterable[ConsumerRecord[bytes, bytes]]:
    """All records, beside one another as they were appended; each partition's stay in their order.

    A record counts as no older than the one before it in its partition, whatever the writers' clocks showed.
    """
    if len(batches) == 1:
        return batches[0]
    times = [time for batch in batches for time in accumulate((record.timestamp for record in batch), max)]
    records = list(chain.from_iterable(batches))
    # Sorting is stable, and finds that each batch is sorted: faster than a heap, which costs each record calls.
    return map(records.__getitem__, sorted(range(len(records)), key=times.__getitem__))


def _passed(partition: int, first: int, seen: int) -> PositionExpired:
    reason = f"partition {partition} begins at {first + 1}, after {seen} was read"
    return PositionExpired(reason, partition=partition)
