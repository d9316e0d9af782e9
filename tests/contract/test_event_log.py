"""The event log port's promises, on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

import pytest

from chassis.broker import connect
from chassis.broker.cloudevents import MAX_DATA_BYTES
from chassis.broker.event_log import START, EventLog, LogEntry, Position, PositionExpired
from chassis.broker.groups.read_ahead import read_ahead
from chassis.broker.port import Event
from chassis.broker.retention import Retention
from tests.contract.events import TOPOLOGY, an_event
from tests.contract.logs import FORGETTING, LOSABLE, LogUnderTest
from tests.waiting import eventually

SUBJECTS = [f"order-{number}" for number in range(7)]


def about_many(count: int) -> list[Event]:
    """Events about several subjects, which a log with partitions spreads over these."""
    return [an_event(subject=SUBJECTS[number % len(SUBJECTS)]) for number in range(count)]


async def read(entries: AsyncIterator[LogEntry], count: int, *, within: float = 20.0) -> list[LogEntry]:
    """The next entries of the log."""
    async with asyncio.timeout(within):
        return [await anext(entries) for _ in range(count)]


async def read_to(log: EventLog, after: Position, upto: Position) -> list[LogEntry]:
    """Everything between two positions."""
    async with asyncio.timeout(20), log.tail(after, upto=upto) as entries:
        return [entry async for entry in entries]


def by_subject(events: list[Event]) -> dict[str, list[str]]:
    return {subject: [event.id for event in events if event.subject == subject] for subject in SUBJECTS}


class TestReading:
    async def test_all_that_is_retained_is_read_from_the_start(self, log: EventLog) -> None:
        """From the start on, the log gives every event, envelope and all, and then goes on live."""
        events = [an_event(type_) for type_ in ("order.placed", "stock.changed", "chat.posted")]
        await log.append(events)
        async with log.tail(START) as entries:
            read_back = await read(entries, 3)
            later = an_event()
            await log.append([later])
            (live,) = await read(entries, 1)
        assert {event.id: event for event in events} == {entry.event.id: entry.event for entry in read_back}
        assert live.event == later

    async def test_order_within_a_subject_is_kept(self, log: EventLog) -> None:
        """Whatever the partitions, events about one subject come in the order in which they were appended."""
        events = about_many(70)
        for begin in range(0, len(events), 10):
            await log.append(events[begin : begin + 10])
        async with log.tail(START) as entries:
            assert by_subject([entry.event for entry in await read(entries, 70)]) == by_subject(events)

    async def test_positions_grow(self, log: EventLog) -> None:
        """Each entry's position includes the one before it, and has the entry; the one before has not."""
        await log.append(about_many(20))
        async with log.tail(START) as entries:
            found = await read(entries, 20)
        before = START
        for entry in found:
            assert entry.position.includes(before)
            assert entry.position.has(entry.partition, entry.offset)
            assert not before.has(entry.partition, entry.offset)
            before = entry.position
        assert all(entry.partition < 12 for entry in found)

    async def test_only_what_comes_from_now_on_is_read(self, log: EventLog) -> None:
        """Without a position, everything appended after entering comes, and nothing from before."""
        await log.append(about_many(5))
        for _ in range(3):
            async with log.tail() as entries:
                event = an_event()
                await log.append([event])
                (entry,) = await read(entries, 1)
                assert entry.event == event

    async def test_an_empty_log_is_waited_at(self, log: EventLog) -> None:
        """Entering an empty log does not wait for its first event, and reading up to its end finds nothing."""
        last = await log.last_position()
        assert START.includes(last)
        for after in (None, START, last):
            async with asyncio.timeout(10), log.tail(after):
                pass
        assert await read_to(log, START, last) == []

    async def test_reading_ends_where_it_is_to(self, log: EventLog) -> None:
        """Up to a position comes what is there, and nothing of what was appended afterwards."""
        events = about_many(30)
        await log.append(events)
        last = await log.last_position()
        await log.append(about_many(30))
        found = await read_to(log, START, last)
        assert {entry.event.id for entry in found} == {event.id for event in events}
        assert found[-1].position == last
        assert await read_to(log, last, last) == []

    async def test_a_reader_that_gives_up_waiting_loses_nothing(self, log: EventLog) -> None:
        """A read that was cancelled while it waited leaves the next entry to the next read."""
        async with log.tail(START) as entries:
            for number in range(5):
                with pytest.raises(TimeoutError):
                    await read(entries, 1, within=0.01)
                event = an_event()
                await log.append([event])
                (entry,) = await read(entries, 1)
                assert entry.event == event, number

    async def test_the_largest_event_fits(self, log: EventLog) -> None:
        """An event of the largest size is carried like any other."""
        event = an_event(data=b'"' + b"x" * (MAX_DATA_BYTES - 2) + b'"')
        await log.append([event])
        async with log.tail(START) as entries:
            (entry,) = await read(entries, 1)
        assert entry.event == event


class TestShares:
    async def test_partitions_are_read_by_themselves(self, log: EventLog) -> None:
        """Readers that share the partitions get every event once between them, those of a subject in their order."""
        events = about_many(60)
        await log.append(events[:30])
        count = await log.partitions()
        shares = [{each for each in range(count) if each % 2 == odd} for odd in (0, 1)]
        async with AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(log.read_partitions(dict.fromkeys(share, 0)))
                for share in shares
                if share
            ]
            await log.append(events[30:])
            last = await log.last_position()
            found = [
                entry
                for reader, share in zip(readers, shares, strict=False)
                for entry in await read(reader, 60 if count == 1 else sum(last.offset(each) for each in share))
            ]
        assert all(entry.partition in shares[entry.partition % 2] for entry in found)
        assert by_subject([entry.event for entry in found]) == by_subject(events)

    async def test_a_share_is_read_on(self, log: EventLog, logs: LogUnderTest) -> None:
        """Another process that is given the numbers of the last entries gets exactly what follows them."""
        events = about_many(40)
        await log.append(events)
        partitions = range(await log.partitions())
        async with log.read_partitions(dict.fromkeys(partitions, 0)) as entries:
            first = await read(entries, 17)
            seen = {each: entries.position.offset(each) for each in partitions}
        other = await logs.open()
        async with other.read_partitions(seen) as entries:
            rest = await read(entries, 23)
            assert entries.position.includes(rest[-1].position)
        assert sorted(entry.event.id for entry in (*first, *rest)) == sorted(event.id for event in events)

    async def test_beyond_the_end_of_a_partition_is_nothing(self, log: EventLog) -> None:
        """An entry that the log does not have cannot have been read from it."""
        await log.append([an_event(subject="one")])
        (partition,) = [each for each, end in enumerate((await log.last_position()).offsets) if end]
        with pytest.raises(PositionExpired):
            async with asyncio.timeout(20), log.read_partitions({partition: 1_001}):
                pass


class TestPositions:
    async def test_reading_goes_on_after_a_position(self, log: EventLog, logs: LogUnderTest) -> None:
        """Another process that is given the last position, as a text, gets exactly what was missed."""
        other = await logs.open()
        events = about_many(30)
        await log.append(events)
        async with log.tail(START) as entries:
            first = await read(entries, 11)
        after = Position.parse(str(first[-1].position))
        async with other.tail(after) as entries:
            rest = await read(entries, 19)
        assert not after.includes(rest[0].position)
        for missed in (rest, await read_to(other, after, await other.last_position())):
            seen = [entry.event.id for entry in (*first, *missed)]
            assert sorted(seen) == sorted(event.id for event in events)

    async def test_the_last_position_is_where_to_go_on(self, log: EventLog) -> None:
        """What is appended after asking for the last position comes after it, and nothing else does."""
        for _ in range(3):
            await log.append(about_many(10))
            last = await log.last_position()
            event = an_event()
            await log.append([event])
            async with log.tail(last) as entries:
                (entry,) = await read(entries, 1)
                assert entry.event == event

    async def test_a_position_beyond_the_end_is_refused(self, log: EventLog) -> None:
        """A position beyond the end cannot have come from this log."""
        await log.append([an_event()])
        beyond = (await log.last_position()).advanced(0, 1_000)
        with pytest.raises(PositionExpired):
            async with asyncio.timeout(20), log.tail(beyond):
                pass

    async def test_a_position_of_another_kind_of_log_is_refused(self, log: EventLog) -> None:
        """A position of an earlier kind of log is refused as such."""
        await log.append([an_event()])
        for foreign in ("1" if log.system == "kafka" else "k1", "k" + ".".join(["1"] * 400)):
            with pytest.raises(PositionExpired):
                async with asyncio.timeout(20), log.tail(Position.parse(foreign)):
                    pass


class TestRetention:
    @pytest.mark.parametrize("logs", FORGETTING, indirect=True)
    async def test_a_position_that_retention_has_passed_is_refused(self, logs: LogUnderTest) -> None:
        """A reader that comes back too late gets an error; one from the start gets what is left."""
        log = await logs.open(Retention(events=50, size=20_000, segment=5_000))
        await log.append([an_event("stock.changed", subject="one")])
        early = await log.last_position()
        size, count = logs.passed_by
        events = (an_event("stock.changed", subject="one", data=b"x" * size) for _ in range(count))
        while batch := list(islice(events, 10)):
            await log.append(batch)

        async def expired() -> bool:
            try:
                async with log.tail(early):
                    return False
            except PositionExpired:
                return True

        await eventually(expired)
        async with log.tail(START) as entries:
            first, second = await read(entries, 2)
        assert first.offset > early.offset(first.partition) + 1
        assert second.position.includes(first.position)

    async def test_a_reader_from_the_start_that_has_read_nothing_misses_nothing(self, tmp_path: Path) -> None:
        """Of the embedded log, what is pruned before its first reading is no gap for it; what comes after that is."""
        broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", TOPOLOGY, retention=Retention(events=50))
        try:
            await broker.log.append([an_event() for _ in range(10)])
            async with broker.log.tail(START) as entries:
                await broker.log.append([an_event() for _ in range(600)])
                (first,) = await read(entries, 1)
                assert first.offset > 10
                assert entries.position == first.position
        finally:
            await broker.close()

    @pytest.mark.parametrize("logs", LOSABLE, indirect=True)
    async def test_a_log_that_began_anew_is_not_read_on(self, logs: LogUnderTest) -> None:
        """A reader whose log was lost, as with the broker's disk, gets an error, and goes on in the new one."""
        log = await logs.open()
        await log.append([an_event(subject="one") for _ in range(10)])
        async with log.tail(START) as entries:
            await read(entries, 10)
            assert not entries.trouble
            reading = asyncio.create_task(anext(entries))
            await logs.lose()
            other = await logs.open()
            await other.append([an_event(subject="one") for _ in range(3)])
            with pytest.raises(PositionExpired, match="was recreated"):
                await asyncio.wait_for(reading, 20)
        last = await other.last_position()
        assert sum(last.offsets) == 3
        event = an_event()
        async with other.tail(last) as entries:
            await other.append([event])
            assert [entry.event for entry in await read(entries, 1)] == [event]

    @pytest.mark.parametrize("logs", LOSABLE, indirect=True)
    async def test_a_group_notices_that_its_log_began_anew(self, logs: LogUnderTest) -> None:
        """Also where its batches wait for less time than the log takes to find out."""
        log = await logs.open()
        await log.append([an_event(subject="one") for _ in range(10)])
        share = dict.fromkeys(range(await log.partitions()), 0)
        async with log.read_partitions(share) as entries, read_ahead(entries) as ahead, asyncio.timeout(40):
            taken = 0
            while taken < 10:
                taken += len(await ahead.batch())
            await logs.lose()
            other = await logs.open()
            await other.append([an_event(subject="one") for _ in range(3)])
            with pytest.raises(PositionExpired, match="was recreated"):
                while True:
                    await ahead.batch()


async def test_health_is_told(log: EventLog) -> None:
    """A log that can be reached is healthy."""
    assert await eventually(log.healthy)
    assert await log.partitions() >= 1
