"""The newest part of the log in memory: what it covers, how far it grows, and how it is filled from the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.broker.port import LogEntry, PositionExpired
from services.notifier.delivery import replay
from services.notifier.delivery.replay import History
from services.notifier.delivery.replay_buffer import Recent
from services.notifier.transports.frames import Notice
from tests.notifier.conftest import an_event


def notice(position: int) -> Notice:
    return Notice(LogEntry(position, an_event(number=position)))


def recent(first: int, last: int, *, events: int = 100, size: int = 1 << 20) -> Recent:
    """What came after `first`, up to `last`."""
    found = Recent(events=events, size=size)
    found.begin(first)
    for position in range(first + 1, last + 1):
        found.append(notice(position))
    return found


@given(last=st.integers(0, 200), after=st.integers(0, 200), limit=st.integers(1, 50), events=st.integers(4, 60))
def test_reading_on_misses_nothing(last: int, after: int, limit: int, events: int) -> None:
    """Whoever reads on from a position that is covered gets everything behind it once, however it is cut."""
    kept = recent(0, last, events=events)
    assert last - kept.start <= events
    if not kept.covers(after):
        return
    seen: list[int] = []
    cursor = after
    while cursor < kept.end:
        found, cursor = kept.read(cursor, limit)
        seen += [each.position for each in found]
    assert seen == list(range(after + 1, last + 1))


def test_bytes_are_bounded_too() -> None:
    """Large events leave room for fewer of them."""
    kept = recent(0, 500, events=10_000, size=50 * notice(1).size)
    assert 30 <= kept.end - kept.start <= 51


def test_earlier_events_are_added_while_there_is_room() -> None:
    """What lies before the recent part is added to it, and refused once it would not fit."""
    kept = recent(50, 60, events=30)
    assert kept.may_reach(31)
    assert not kept.may_reach(29)
    kept.prepend(40, [notice(position) for position in range(41, 51)])
    assert kept.covers(40)
    assert [each.position for each in kept.read(40, 100)[0]] == list(range(41, 61))
    kept.prepend(25, [notice(position) for position in range(26, 41)])
    assert not kept.covers(25)
    assert not kept.may_reach(25)


class CountingBroker:
    """Fake: a log in memory that counts its readers and can have forgotten its beginning."""

    def __init__(self, last: int, *, first: int = 1) -> None:
        self.last = last
        self.first = first
        self.readers: list[int] = []

    @asynccontextmanager
    async def tail(self, after: int) -> AsyncIterator[AsyncIterator[LogEntry]]:
        self.readers.append(after)
        if after + 1 < self.first:
            raise PositionExpired(str(after))
        yield self._read(after)

    async def _read(self, after: int) -> AsyncIterator[LogEntry]:
        for position in range(after + 1, self.last + 1):
            await asyncio.sleep(0)
            yield notice_entry(position)


def notice_entry(position: int) -> LogEntry:
    return LogEntry(position, an_event(number=position))


async def read_all(log: History, after: int) -> list[int]:
    seen: list[int] = []
    while after < log.position:
        found, after = await log.read(after)
        seen += [each.position for each in found]
    return seen


async def test_many_who_come_back_together_cost_few_reads() -> None:
    """After a restart hundreds resume at once from about where the copy was: the broker is read a few times."""
    broker = CountingBroker(last=1_000)
    log = History(broker)  # type: ignore[arg-type]
    log.begin(1_000)
    positions = [900 + each % 97 for each in range(500)]
    found = await asyncio.gather(*(read_all(log, after) for after in positions))
    assert [seen[0] for seen in found] == [after + 1 for after in positions]
    assert all(seen[-1] == 1_000 for seen in found)
    assert len(broker.readers) < 20


async def test_who_comes_from_far_back_is_read_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is read from the log, in parts, and nothing is kept of it."""
    monkeypatch.setattr(replay, "_RECENT_EVENTS", 50)
    broker = CountingBroker(last=1_000)
    log = History(broker)  # type: ignore[arg-type]
    log.begin(1_000)
    assert await read_all(log, 100) == list(range(101, 1_001))
    assert len(broker.readers) <= 900 // replay._BATCH_SIZE + 2


async def test_forgotten_position_is_told() -> None:
    """What the log no longer has raises, also for who waits behind somebody whose position it has."""
    log = History(CountingBroker(last=1_000, first=950))  # type: ignore[arg-type]
    log.begin(1_000)
    found = await asyncio.gather(read_all(log, 980), read_all(log, 900), read_all(log, 960), return_exceptions=True)
    assert found[0] == list(range(981, 1_001))
    assert isinstance(found[1], PositionExpired)
    assert found[2] == list(range(961, 1_001))
