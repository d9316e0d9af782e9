"""`shop events tail` in a terminal of its own: it goes on through whatever happens to the notifier."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from tests.notifier.conftest import Stage, numbered, token
from tests.notifier.processes import process
from tests.shop import free_ports
from tests.waiting import eventually


@dataclass
class FakeGateway:
    """Gives every caller a token, and counts them."""

    url: str = ""
    lifetime: int = 900
    given: int = 0

    async def sign_in(self, _: web.Request) -> web.Response:
        self.given += 1
        return web.json_response({"access_token": token("1", "admin", lifetime=self.lifetime)})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeGateway]:
        app = web.Application()
        app.router.add_post("/v1/auth/token", self.sign_in)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


class Tail:
    """A running `shop events tail --json`."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.told = ""

    @asynccontextmanager
    async def running(self, gateway: FakeGateway, port: int) -> AsyncIterator[Tail]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
        env |= {"SHOP_GATEWAY_URL": gateway.url, "SHOP_NOTIFIER_URL": f"http://127.0.0.1:{port}"}
        command = (sys.executable, "-u", "-m", "shop", "events", "tail", "--json", "--after", "0")
        pipe = asyncio.subprocess.PIPE
        tailing = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
        assert tailing.stdout is not None
        assert tailing.stderr is not None
        readers = [asyncio.create_task(self._read(tailing.stdout)), asyncio.create_task(self._hear(tailing.stderr))]
        try:
            yield self
        finally:
            if tailing.returncode is None:
                tailing.kill()
            await tailing.wait()
            await asyncio.gather(*readers)

    async def _read(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self.numbers.append(json.loads(line)["data"]["number"])

    async def _hear(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self.told += line.decode()


async def test_tail_goes_on_when_its_copy_is_killed(stage: Stage) -> None:
    """What happens while the notifier is dead is printed once it is back, and nothing twice."""
    (port,) = free_ports(1)
    async with FakeGateway().serving() as gateway:
        async with process(stage, port=port) as (copy, _), Tail().running(gateway, port) as tail:
            await stage.broker.publish(numbered(1, 3))
            await eventually(lambda: len(tail.numbers) == 3)
            copy.kill()
            await copy.wait()
            await stage.broker.publish(numbered(4, 5))
            await eventually(lambda: "does not answer" in tail.told)
            async with process(stage, port=port):
                await eventually(lambda: len(tail.numbers) == 5)
                await stage.broker.publish(numbered(6, 6))
                await eventually(lambda: tail.numbers == [1, 2, 3, 4, 5, 6])
        assert gateway.given == 1


async def test_tail_outlives_its_token(stage: Stage) -> None:
    """A token that expires is replaced by a new one, and the tail goes on behind what it has printed."""
    async with FakeGateway(lifetime=2).serving() as gateway, stage.notifier() as copy:
        async with Tail().running(gateway, copy.port) as tail:
            await stage.broker.publish(numbered(1, 3))
            await eventually(lambda: len(tail.numbers) == 3)
            await eventually(lambda: gateway.given > 1)
            await stage.broker.publish(numbered(4, 5))
            await eventually(lambda: tail.numbers == [1, 2, 3, 4, 5])
        assert "TOKEN_EXPIRED" in tail.told
