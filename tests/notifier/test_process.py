"""What happens to clients when the process of their copy is stopped or killed."""

from __future__ import annotations

import asyncio
import signal

import pytest
import websockets

from tests.notifier.conftest import Stage, an_event, counted, numbered
from tests.notifier.processes import process
from tests.waiting import eventually


async def test_sigterm_closes_1001_and_ends_the_process(stage: Stage) -> None:
    """On SIGTERM clients get what was sent, are closed 1001, and the process ends by itself."""
    async with process(stage) as (running, copy), copy.client() as client:
        await client.subscribe("order.*")
        await stage.broker.publish(numbered(1, 20))

        async def sent() -> bool:
            return await counted(copy, "notifier_deliveries_total", protocol="WebSocket") == 20

        await eventually(sent)
        seen = []
        running.send_signal(signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                seen.append(await client.receive())
        assert client.socket.close_code == 1001
        async with asyncio.timeout(10):
            assert await running.wait() == 0
    assert [frame["data"]["number"] for frame in seen] == list(range(1, 21))


async def test_killed_copy_loses_nothing(stage: Stage) -> None:
    """A client of a copy that is killed resumes at the next one behind the last event that it has."""
    async with process(stage) as (running, copy), copy.client() as client:
        await client.subscribe("order.*")
        await stage.broker.publish(numbered(1, 5))
        position = (await client.events(3))[-1]["id"]
        running.kill()
        await client.close_code()
    await stage.broker.publish(numbered(6, 7))
    async with process(stage) as (_, copy), copy.client() as client:
        await client.subscribe("order.*", after=position)
        assert [frame["data"]["number"] for frame in await client.events(4)] == [4, 5, 6, 7]


async def test_large_event_behind_small_ones_makes_no_reader_too_slow(stage: Stage) -> None:
    """Events that arrive together, small ones and some as large as the backlog, all reach a client that reads."""
    sizes = [1, 1, 16_300, 1, 16_300, 16_300, 1] * 5
    async with process(stage, SHOP_NOTIFIER_BACKLOG=str(16 << 10)) as (_, copy), copy.client() as client:
        await client.subscribe("order.*")
        await stage.broker.publish([an_event(filler="x" * size) for size in sizes])
        assert [len(frame["data"]["filler"]) for frame in await client.events(len(sizes))] == sizes
