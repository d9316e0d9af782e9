"""A client whose connection is gone is nothing that the event feed could fail at."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvloop

from services.notifier.frames import Frame
from services.notifier.transports.client_connection import TransportConnection


class Connection(asyncio.Protocol):
    """A protocol with the one attribute of aiohttp's that a connection reads."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)


class ClosedConnection(TransportConnection):
    protocol = "WebSocket"

    def _encoded(self, frame: Frame) -> bytes:
        return frame.websocket

    def _begin_close(self, code: int, reason: str) -> None:
        raise AssertionError("a client that is gone is not slow")


def test_frame_for_a_client_that_is_gone_is_dropped() -> None:
    """On uvloop, which raises for any call on a closed transport, writing to one changes nothing."""

    async def written() -> tuple[bool, float]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            transport, protocol = await loop.create_connection(Connection, "127.0.0.1", port)
            connection = ClosedConnection(cast("Any", protocol), cast("Any", None), backlog=1 << 18)
            transport.abort()
            gone = loop.create_future()
            loop.call_soon(gone.set_result, None)
            await gone
            return connection.send(Frame(b"frame")), connection.stalled_for()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        taken, seconds = runner.run(written())
    assert not taken
    assert seconds >= 0
