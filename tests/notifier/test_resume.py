"""Nothing is lost or seen twice, whatever happens to a copy: killed under load, stopped, or started for all clients."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time

import pytest
import websockets

from tests.notifier.conftest import Client, Copy, Stage, numbered
from tests.notifier.processes import process
from tests.waiting import eventually


class Restless:
    """A client that connects to one copy after the other until it has seen everything, as a load balancer would."""

    def __init__(self, *copies: Copy) -> None:
        self.seen: list[int] = []
        self.codes: list[int | None] = []
        self._copies = itertools.cycle(copies)
        self._after = "0"

    async def until(self, total: int) -> None:
        while len(self.seen) < total:
            try:
                async with next(self._copies).client() as client:
                    await client.send(action="subscribe", topics=["order.*"], after=self._after)
                    await self._read(client, total)
            except OSError:
                continue  # that copy is dead
            except websockets.ConnectionClosed as closed:
                self.codes.append(closed.rcvd.code if closed.rcvd else None)
            except websockets.InvalidMessage:
                continue  # it died in the middle of the handshake

    async def _read(self, client: Client, total: int) -> None:
        while len(self.seen) < total:
            frame = await client.receive()
            assert frame["type"] != "resync"
            if "id" in frame:
                self.seen.append(frame["data"]["number"])
                self._after = frame["id"]


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
async def test_copy_ends_under_load(any_stage: Stage, with_signal: signal.Signals) -> None:
    """Clients of a copy that is killed or stopped during a stream of events go on at the other one."""
    total = 600
    async with process(any_stage) as (doomed, one), process(any_stage) as (_, other):
        clients = [Restless(*pair) for pair in ((one, other), (one, other), (other, one), (one, one, other)) * 3]
        reading = [asyncio.create_task(client.until(total)) for client in clients]
        for number in range(1, total + 1):
            await any_stage.broker.publish(numbered(number, number))
            if number == total // 3:
                await eventually(lambda: all(client.seen for client in clients))
                doomed.send_signal(with_signal)
        async with asyncio.timeout(60):
            await asyncio.gather(*reading)
    assert all(client.seen == list(range(1, total + 1)) for client in clients)
    if with_signal is signal.SIGTERM:
        assert {code for client in clients for code in client.codes} == {1001}


async def test_five_hundred_clients_resume_at_once(any_stage: Stage) -> None:
    """After a restart 500 clients ask for what they missed in the same moment and get it soon."""
    import psutil

    clients, missed = 500, 40
    await any_stage.broker.publish(numbered(1, missed))

    async def resume(client: Client, first: int) -> list[int]:
        await client.send(action="subscribe", topics=["order.*"], after=str(first - 1))
        assert (await client.receive())["type"] == "subscribed"
        return [frame["data"]["number"] for frame in await client.events(missed + 1 - first)]

    async with process(any_stage) as (running, copy), asyncio.TaskGroup() as group:
        memory = psutil.Process(running.pid)
        contexts = [copy.client() for _ in range(clients)]
        connected = await asyncio.gather(*(context.__aenter__() for context in contexts))
        before = memory.memory_info().rss
        # From a little before the first to the last: no other client's position helps.
        firsts = [2 + each % (missed - 1) for each in range(clients)]
        began = time.monotonic()
        resuming = [group.create_task(resume(*pair)) for pair in zip(connected, firsts, strict=True)]
        for first, task in zip(firsts, resuming, strict=True):
            assert await task == list(range(first, missed + 1))
        assert time.monotonic() - began < 60
        assert memory.memory_info().rss - before < 60 << 20
        await asyncio.gather(*(context.__aexit__(None, None, None) for context in contexts))
