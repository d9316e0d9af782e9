"""Clients that come before a copy has read the event log: they wait for it, or get NOT_READY."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import websockets

from chassis.broker.event_log import START, Position
from chassis.broker.port import Broker
from tests.notifier.conftest import Client, Copy, Stage, numbered, token
from tests.notifier.processes import process
from tests.notifier.test_sse import streaming
from tests.shop import free_ports


class UnreadLog:
    """Fake: a broker whose log does not return its end before it may."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    @property
    def log(self) -> UnreadLog:
        return self

    def tail(self, after: Position | None = None, *, upto: Position | None = None) -> Any:
        return self._broker.log.tail(after, upto=upto)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def last_position(self) -> Position:
        self.asked.set()
        await self.may.wait()
        return await self._broker.log.last_position()


async def first_by_event_stream(stage: Stage, copy: Copy) -> int:
    """The first event of a stream, when something happens as soon as it is answered."""
    async with streaming(copy) as stream:
        assert stream.response.status_code == 200
        await stage.broker.publish(numbered(1, 2))
        return int((await stream.event())["data"]["number"])


async def first_by_websocket(stage: Stage, copy: Copy) -> int:
    """The first event of a subscription, when something happens as soon as it is answered."""
    async with copy.client() as client:
        await client.subscribe("order.*")
        await stage.broker.publish(numbered(1, 2))
        return int((await client.receive())["data"]["number"])


FIRST = (first_by_event_stream, first_by_websocket)


@pytest.mark.parametrize("first", FIRST)
async def test_first_event_after_the_start_is_not_missed(any_stage: Stage, first: Any) -> None:
    """A client that comes as soon as a process takes connections gets all that happens after its answer."""
    async with process(any_stage) as (_, copy):
        assert await first(any_stage, copy) == 1


@pytest.mark.parametrize("first", FIRST)
async def test_client_waits_for_the_log(any_stage: Stage, first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is answered before the log is read, and then gets all that happens after the answer."""
    monkeypatch.setattr("services.notifier.delivery.hub._START_TIMEOUT", 60.0)
    unread = UnreadLog(any_stage.broker)
    async with any_stage.notifier(broker=unread) as copy, asyncio.TaskGroup() as group:
        await unread.asked.wait()
        task = group.create_task(first(any_stage, copy))
        async with httpx.AsyncClient(timeout=60) as http:
            for _ in range(5):
                assert (await http.get(f"http://127.0.0.1:{copy.port}/readyz")).status_code == 503
        # None of its events is in the log: it has had no answer.
        assert await any_stage.broker.log.last_position() == START
        unread.may.set()
        assert await task == 1


async def test_client_is_told_that_a_copy_is_not_ready(stage: Stage) -> None:
    """While the broker is away a stream is 503 with Retry-After and a WebSocket closes 1013, both with the reason."""
    (nothing,) = free_ports(1)
    nowhere = Stage(stage.data_dir, f"amqp://guest:guest@127.0.0.1:{nothing}/", stage.broker)
    nowhere.users_address, nowhere.orders_address = stage.users_address, stage.orders_address

    async def by_event_stream(copy: Copy) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            answer = await http.get(copy.stream_url, headers={"Authorization": f"Bearer {token()}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0

    async def by_websocket(client: Client) -> None:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.subscribe("order.*")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "NOT_READY")

    async with process(nowhere) as (_, copy), copy.client() as client:
        await asyncio.gather(by_event_stream(copy), by_websocket(client))
