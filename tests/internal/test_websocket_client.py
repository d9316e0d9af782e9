"""WebSockets to other processes that are read only on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from chassis.clients.websocket_client import ReadOnDemand, connector
from tests.waiting import eventually

HEARTBEAT = 0.4
MESSAGES = 50


class Pinged:
    """Fake: a server that says many messages at once, and answers pings while it is `alive`."""

    def __init__(self) -> None:
        self.pings = 0
        self.alive = True

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        for number in range(MESSAGES):
            await socket.send_str(str(number))
        async for message in socket:
            if message.type is WSMsgType.PING:
                self.pings += 1
                if self.alive:
                    await socket.pong(message.data)
        return socket

    @asynccontextmanager
    async def client(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        app = web.Application()
        app.router.add_get("/", self.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            async with (
                aiohttp.ClientSession(connector=connector(), ws_response_class=ReadOnDemand) as session,
                session.ws_connect(url, heartbeat=HEARTBEAT) as socket,
            ):
                yield socket
        finally:
            await runner.cleanup()


@pytest.fixture
def server() -> Pinged:
    return Pinged()


async def test_slow_reader_is_not_cut_for_pongs_that_it_does_not_read(server: Pinged) -> None:
    """However long messages are not received, the connection stays, and all of them come."""
    async with server.client() as socket:
        for number in range(MESSAGES):
            if number % 10 == 0:
                asked = server.pings
                await eventually(lambda asked=asked: server.pings > asked + 2)  # type: ignore[misc]  # mypy cannot infer it
            assert await socket.receive_str() == str(number)
        assert not socket.closed


async def test_silent_server_is_cut(server: Pinged) -> None:
    """While messages are waited for, a server that answers no ping is given up."""
    server.alive = False
    async with server.client() as socket:
        for _ in range(MESSAGES):
            await socket.receive_str()
        assert (await socket.receive()).type in {WSMsgType.ERROR, WSMsgType.CLOSED}
        assert isinstance(socket.exception(), aiohttp.ServerTimeoutError)
