"""The broker is back with an empty disk: clients get a resync, and a copy that reads nothing says that it is not
ready."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from chassis.broker import connect
from tests.notifier.conftest import TOPOLOGY, Stage, numbered, staged
from tests.rabbitmq import lose, own_rabbitmq
from tests.waiting import eventually


async def test_clients_are_told_and_served_from_the_new_log(any_stage: Stage) -> None:
    """A log that ends before what was delivered is answered with resync and a position, after which all comes."""
    await any_stage.broker.publish(numbered(1, 20))
    async with any_stage.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*")
        await any_stage.broker.publish(numbered(21, 21))
        assert (await client.receive())["data"]["number"] == 21
        await lose(any_stage.broker_url, TOPOLOGY)
        anew = await connect(any_stage.broker_url, TOPOLOGY)
        try:
            await anew.publish(numbered(22, 24))
            assert await client.receive() == {"type": "resync"}
            told = await client.receive()
            assert told["type"] == "subscribed"
            await anew.publish(numbered(25, 26))
            # Position 1 of the new log is number 22.
            expected = list(range(22 + int(told["position"]), 27))
            assert [frame["data"]["number"] for frame in await client.events(len(expected))] == expected
        finally:
            await anew.close()


@pytest.mark.rabbitmq
async def test_copy_that_cannot_read_the_log_is_not_ready_and_says_why(tmp_path: Any) -> None:
    """While there is no log `/readyz` is 503 with the reason; once there is one again it is 200."""
    async with (
        own_rabbitmq(TOPOLOGY) as url,
        staged(tmp_path, url) as stage,
        stage.notifier() as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):

        async def status() -> int:
            return (await http.get("/readyz")).status_code

        async def ready() -> bool:
            return await status() == 200

        async def not_ready() -> bool:
            return await status() == 503

        await eventually(ready)
        await stage.broker.publish(numbered(1, 5))
        await lose(url, TOPOLOGY)
        await eventually(not_ready)
        assert "event log cannot be read" in (await http.get("/readyz")).json()["reason"]
        anew = await connect(url, TOPOLOGY)
        try:
            await anew.publish(numbered(6, 6))
            await eventually(ready, within=60)
        finally:
            await anew.close()
