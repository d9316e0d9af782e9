"""The depths of the queues, as the map shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chassis.broker.port import QueueDepth
from chassis.observability.tracing import Telemetry
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


async def test_a_slow_broker_is_not_shown_as_one_with_nothing_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the depths are being read, they are what they were."""
    calls, broker = EventCalls("amqp://nowhere", "", Telemetry("test")), SlowBroker()

    @asynccontextmanager
    async def connected(_: EventCalls) -> AsyncIterator[SlowBroker]:
        yield broker

    monkeypatch.setattr(EventCalls, "_connected", connected)
    broker.may.set()
    assert await calls.depths() == [FOUND]
    broker.may.clear()
    broker.asked.clear()
    calls._next_read_at = 0.0
    reading = asyncio.create_task(calls.depths())
    await broker.asked.wait()
    assert await calls.depths() == [FOUND]
    broker.may.set()
    assert await reading == [FOUND]
