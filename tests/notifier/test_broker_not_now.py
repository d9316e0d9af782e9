"""Every way in which RabbitMQ says "not now", at the routes that need it: 503 with Retry-After, or close code 1013."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import websockets
from pamqp import commands, frame
from pamqp.header import ProtocolHeader

from chassis.broker import connect
from tests.notifier.conftest import TOPOLOGY, Stage, token
from tests.shop import free_ports

# RabbitMQ's own words, as it closes a connection that has said who it is.
REFUSALS = {
    "shuts down": (320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"),
    "refuses the login": (403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."),
    "has no such virtual host": (530, "NOT_ALLOWED - vhost shop not found"),
    "is starting": (541, "INTERNAL_ERROR - access to vhost 'shop' refused: vhost is down"),
    "has too many connections": (530, "NOT_ALLOWED - access to vhost refused: connection limit is reached"),
}
# What takes no words.
SILENCES = ("takes no connection", "hangs up", "says nothing")


class FakeRabbit:
    """Fake: takes connections, and ends them in one way."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._kind == "says nothing":
                await self._ended.wait()
            elif self._kind in REFUSALS:
                await reader.readexactly(len(ProtocolHeader().marshal()))
                writer.write(frame.marshal(commands.Connection.Start(), 0))
                await reader.read(4096)
                writer.write(frame.marshal(commands.Connection.Close(*REFUSALS[self._kind], 0, 0), 0))
                await reader.read(4096)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Its port."""
        if self._kind == "takes no connection":
            yield free_ports(1)[0]
            return
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self._ended.set()


@pytest.mark.parametrize("kind", [*REFUSALS, *SILENCES])
async def test_not_now_is_told_at_the_routes(stage: Stage, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is 503 problem+json with Retry-After, a WebSocket closes 1013, and the process is not ready."""
    monkeypatch.setattr("services.notifier.delivery.hub._START_TIMEOUT", 0.5)
    async with FakeRabbit(kind).running() as port:
        broker = await connect(f"amqp://guest:guest@127.0.0.1:{port}/shop", TOPOLOGY)
        try:
            async with stage.notifier(broker=broker) as copy, httpx.AsyncClient(timeout=20) as http:
                answer = await http.get(copy.stream_url, headers={"Authorization": f"Bearer {token()}"})
                assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["retry-after"]) > 0
                assert (await http.get(f"http://127.0.0.1:{copy.port}/readyz")).status_code == 503
                assert (await http.get(f"http://127.0.0.1:{copy.port}/healthz")).status_code == 200
                async with copy.client() as client:
                    with pytest.raises(websockets.ConnectionClosed) as closed:
                        await client.subscribe("order.*")
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "NOT_READY")
        finally:
            await broker.close()
