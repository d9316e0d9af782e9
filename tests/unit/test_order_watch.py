"""The order watch reads the event log only while orders are watched, and misses nothing by that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from chassis.background import background
from chassis.broker.event_log import EventLog, LogEntry, Position
from services.orders.order_watch import LogOrderWatch
from tests.contract.events import an_event
from tests.waiting import eventually

ORDER = "o1"


class FakeLog:
    """Fake: an event log whose readers are counted."""

    def __init__(self) -> None:
        self.readers: list[asyncio.Queue[LogEntry]] = []
        self.opened = 0

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[LogEntry]]:
        entries: asyncio.Queue[LogEntry] = asyncio.Queue()
        self.readers.append(entries)
        self.opened += 1
        try:
            yield _each(entries)
        finally:
            self.readers.remove(entries)

    def append(self, order_id: str) -> None:
        for entries in self.readers:
            entries.put_nowait(LogEntry(Position((1,)), an_event(subject=order_id)))


async def _each(entries: asyncio.Queue[LogEntry]) -> AsyncIterator[LogEntry]:
    while True:
        yield await entries.get()


@pytest.fixture(autouse=True)
def looks_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """No watcher looks by itself, as it does after two seconds otherwise."""
    monkeypatch.setattr("services.orders.order_watch._POLL_SECONDS", 300.0)


@pytest.fixture
async def log() -> FakeLog:
    return FakeLog()


async def _next(changes: AsyncIterator[None]) -> None:
    async with asyncio.timeout(20):
        await anext(changes)


async def test_log_is_read_only_while_an_order_is_watched(log: FakeLog) -> None:
    """Nothing is read before the first watcher, nor after the last one has gone and the next event has come."""
    watch = LogOrderWatch(cast("EventLog", log))
    async with background(watch.follow()):
        await asyncio.sleep(0)
        assert log.readers == []
        changes = watch.watch(ORDER)
        await _next(changes)
        await eventually(lambda: log.readers)
        await changes.aclose()  # type: ignore[attr-defined]  # it is a generator
        log.append("another")
        await eventually(lambda: not log.readers)
        again = watch.watch(ORDER)
        await _next(again)
        await eventually(lambda: log.readers)
    assert log.opened == 2


async def test_watcher_looks_again_once_the_log_is_read(log: FakeLog) -> None:
    """What changed between a watcher's first look and the opening of the log is in no event that is read."""
    watch = LogOrderWatch(cast("EventLog", log))
    changes = watch.watch(ORDER)
    await _next(changes)
    async with background(watch.follow()):
        await _next(changes)
        assert log.opened == 1


async def test_watcher_is_woken_by_its_order_only(log: FakeLog) -> None:
    """An event about another order wakes nobody; one about this order wakes its watcher."""
    watch = LogOrderWatch(cast("EventLog", log))
    changes = watch.watch(ORDER)
    async with background(watch.follow()):
        await _next(changes)
        await eventually(lambda: log.readers)
        await _next(changes)  # the look after the opening
        waiting = asyncio.ensure_future(anext(changes))
        log.append("another")
        await eventually(log.readers[0].empty)
        assert not waiting.done()
        log.append(ORDER)
        async with asyncio.timeout(20):
            await waiting
