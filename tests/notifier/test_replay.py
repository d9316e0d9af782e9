"""The newest part of the log in memory: what it covers, how far it grows, and how it is filled from the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.broker.event_log import InvalidPosition, LogEntry, Position, PositionExpired
from services.notifier.delivery import replay
from services.notifier.delivery.replay import Replay
from services.notifier.delivery.replay_buffer import ReplayBuffer
from services.notifier.frames import Notice
from tests.notifier.conftest import an_event


def notice(position: int) -> Notice:
    return Notice(LogEntry(Position.at(position), an_event(number=position)))


at = Position.at


def recent(first: int, last: int, *, events: int = 100, size: int = 1 << 20) -> ReplayBuffer:
    """What came after `first`, up to `last`."""
    found = ReplayBuffer(events=events, size=size)
    found.begin(at(first))
    for position in range(first + 1, last + 1):
        found.append(notice(position))
    return found


@given(last=st.integers(0, 200), after=st.integers(0, 200), limit=st.integers(1, 50), events=st.integers(4, 60))
def test_reading_on_misses_nothing(last: int, after: int, limit: int, events: int) -> None:
    """A reader from a position that is covered gets everything behind it once, however it is cut."""
    kept = recent(0, last, events=events)
    assert kept.start.distance(kept.end) <= events
    if not kept.covers(at(after)):
        return
    seen: list[int] = []
    cursor = at(after)
    while not cursor.includes(kept.end):
        found, cursor = kept.read(cursor, limit)
        seen += [each.offset for each in found]
    assert seen == list(range(after + 1, last + 1))


def entries_in(order: Sequence[int], start: Position) -> Iterator[LogEntry]:
    """The next entry of each partition named, as a reader meets them who reads the partitions in this order."""
    position = start
    for partition in order:
        position = position.advanced(partition, position.offset(partition) + 1)
        event = an_event(name=f"{partition}/{position.offset(partition)}")
        yield LogEntry(position, event, partition)


@given(data=st.data(), order=st.lists(st.integers(0, 3), min_size=1, max_size=60), limit=st.integers(1, 9))
def test_any_readers_position_can_be_read_on_from(data: st.DataObject, order: list[int], limit: int) -> None:
    """A client from a copy that has read the partitions in another order gets each missing entry once.

    Each frame's id is where the client is then: all up to it was received, and nothing beyond.
    """
    beginning = Position((0, 0, 0, 0), "k")
    kept = ReplayBuffer(events=1_000, size=1 << 20)
    kept.begin(beginning)
    for entry in entries_in(order, beginning):
        kept.append(Notice(entry))
    elsewhere = list(entries_in(data.draw(st.permutations(order)), beginning))
    cursor = elsewhere[data.draw(st.integers(0, len(elsewhere) - 1))].position
    received = {(each.partition, each.offset) for each in elsewhere if cursor.has(each.partition, each.offset)}
    reached = cursor
    while not reached.includes(kept.end):
        found, reached = kept.read(cursor, limit)
        for each in found:
            frame, cursor = each.frame_for(cursor)
            assert orjson.loads(frame.payload)["id"] == str(cursor)
            assert (each.partition, each.offset) not in received
            received.add((each.partition, each.offset))
            assert received == {
                (partition, offset) for partition in range(4) for offset in range(1, cursor.offset(partition) + 1)
            }
    assert len(received) == len(order)


@given(st.lists(st.integers(0, 99), max_size=5), st.lists(st.integers(0, 99), max_size=5), st.sampled_from(["", "k"]))
def test_positions_are_a_lattice(one: list[int], two: list[int], log: str) -> None:
    """The union includes both positions and the intersection is included in both; texts read back as they were."""
    here, there = Position(tuple(one), log), Position(tuple(two), log)
    both, common = here.union(there), here.intersection(there)
    assert both.includes(here)
    assert both.includes(there)
    assert here.includes(common)
    assert there.includes(common)
    assert here.includes(there) == (both.includes(here) and here.includes(both))
    for position in (here, there, both):
        read_back = Position.parse(str(position))
        assert read_back.includes(position)
        assert position.includes(read_back)


@pytest.mark.parametrize("text", ["", "k", "1.", ".1", "-1", "1..2", "x1", "k1 ", "1" * 19, "k" + "1." * 2_000 + "1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    """A text that no log gives out is refused, however long it is."""
    with pytest.raises(InvalidPosition):
        Position.parse(text)


def test_bytes_are_bounded_too() -> None:
    """Large events leave room for fewer of them."""
    kept = recent(0, 500, events=10_000, size=50 * notice(1).size)
    assert 30 <= kept.start.distance(kept.end) <= 51


def test_earlier_events_are_added_while_there_is_room() -> None:
    """What lies before the recent part is added to it, and refused once it would not fit."""
    kept = recent(50, 60, events=30)
    assert kept.may_reach(at(31))
    assert not kept.may_reach(at(29))
    kept.prepend(at(40), [notice(position) for position in range(41, 51)])
    assert kept.covers(at(40))
    assert [each.offset for each in kept.read(at(40), 100)[0]] == list(range(41, 61))
    kept.prepend(at(25), [notice(position) for position in range(26, 41)])
    assert not kept.covers(at(25))
    assert not kept.may_reach(at(25))


class CountingBroker:
    """Fake: a log in memory that counts its readers and can have forgotten its beginning."""

    def __init__(self, last: int, *, first: int = 1) -> None:
        self.last = last
        self.first = first
        self.readers: list[int] = []

    @asynccontextmanager
    async def tail(self, after: Position, *, upto: Position) -> AsyncIterator[AsyncIterator[LogEntry]]:
        self.readers.append(after.offset(0))
        if after.offset(0) + 1 < self.first:
            raise PositionExpired(str(after))
        yield self._read(after.offset(0), upto.offset(0))

    async def _read(self, after: int, upto: int) -> AsyncIterator[LogEntry]:
        for position in range(after + 1, upto + 1):
            await asyncio.sleep(0)
            yield notice_entry(position)


def notice_entry(position: int) -> LogEntry:
    return LogEntry(at(position), an_event(number=position))


async def read_all(log: Replay, after: int) -> list[int]:
    seen: list[int] = []
    cursor = at(after)
    while not cursor.includes(log.position):
        found, cursor = await log.read(cursor)
        seen += [each.offset for each in found]
    return seen


async def test_many_who_come_back_together_cost_few_reads() -> None:
    """After a restart hundreds resume at once from about where the copy was: the broker is read a few times."""
    broker = CountingBroker(last=1_000)
    log = Replay(broker)  # type: ignore[arg-type]
    log.begin(at(1_000))
    positions = [900 + each % 97 for each in range(500)]
    found = await asyncio.gather(*(read_all(log, after) for after in positions))
    assert [seen[0] for seen in found] == [after + 1 for after in positions]
    assert all(seen[-1] == 1_000 for seen in found)
    assert len(broker.readers) < 20


async def test_who_comes_from_far_back_is_read_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is read from the log, in parts, and nothing is kept of it."""
    monkeypatch.setattr(replay, "_RECENT_EVENTS", 50)
    broker = CountingBroker(last=1_000)
    log = Replay(broker)  # type: ignore[arg-type]
    log.begin(at(1_000))
    assert await read_all(log, 100) == list(range(101, 1_001))
    assert len(broker.readers) <= 900 // replay._BATCH_SIZE + 2


async def test_forgotten_position_is_told() -> None:
    """What the log no longer has raises, also for a client that waits behind one whose position it has."""
    log = Replay(CountingBroker(last=1_000, first=950))  # type: ignore[arg-type]
    log.begin(at(1_000))
    found = await asyncio.gather(read_all(log, 980), read_all(log, 900), read_all(log, 960), return_exceptions=True)
    assert found[0] == list(range(981, 1_001))
    assert isinstance(found[1], PositionExpired)
    assert found[2] == list(range(961, 1_001))
