"""The depths of the queues, as the map shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chassis.broker.port import QueueDepth
from chassis.observability.tracing import Telemetry
from console.play import events
from console.play.events import EventCalls

FOUND = QueueDepth("order-mail", 3, 0, 0)


class SlowBroker:
    """Fake: answers once it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def depths(self) -> list[QueueDepth]:
        self.asked.set()
        await self.may.wait()
        return [FOUND]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> SlowBroker:
    """A broker that has answered so far; the depths may be read again as soon as they have been read."""
    broker = SlowBroker()

    @asynccontextmanager
    async def connected(_: EventCalls) -> AsyncIterator[SlowBroker]:
        yield broker

    monkeypatch.setattr(EventCalls, "_connected", connected)
    monkeypatch.setattr(events, "_DEPTHS_EVERY", 0.0)
    return broker


async def _being_read(calls: EventCalls, broker: SlowBroker) -> asyncio.Task[list[QueueDepth]]:
    """A read that has begun, after one that was answered."""
    broker.may.set()
    assert await calls.depths() == [FOUND]
    broker.may.clear()
    broker.asked.clear()
    reading = asyncio.create_task(calls.depths())
    await broker.asked.wait()
    broker.asked.clear()
    return reading


async def test_a_slow_broker_is_not_shown_as_one_with_nothing_waiting(broker: SlowBroker) -> None:
    """While the depths are being read, they are what they were, and are not read a second time."""
    calls = EventCalls("amqp://nowhere", "", Telemetry("test"))
    reading = await _being_read(calls, broker)
    assert await calls.depths() == [FOUND]
    assert not broker.asked.is_set()
    broker.may.set()
    assert await reading == [FOUND]
    assert await calls.depths() == [FOUND]
    assert broker.asked.is_set()


async def test_a_read_that_is_given_up_is_followed_by_another(broker: SlowBroker) -> None:
    """The page may have been closed meanwhile."""
    calls = EventCalls("amqp://nowhere", "", Telemetry("test"))
    reading = await _being_read(calls, broker)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    broker.may.set()
    assert await calls.depths() == [FOUND]
    assert broker.asked.is_set()
