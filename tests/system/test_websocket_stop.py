"""A server that stops while its WebSockets are open, opening and closing: each is closed, and nothing fails."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chassis.http.middleware import Receive, Scope, Send
from chassis.http.server import serve_http
from shop.process_table import TABLE
from tests.shop import surroundings
from tests.waiting import eventually

HEAD = (
    b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
# Frames of a client; a mask of zeros leaves the payload as it is.
CLOSE = b"\x88\x82" + bytes(4) + (1000).to_bytes(2)
INIT = json.dumps({"type": "connection_init"}).encode()
INIT = bytes((0x81, 0x80 | len(INIT))) + bytes(4) + INIT
NO_JSON = b"\x81\x81" + bytes(4) + b"{"
NO_FRAME = b"\xff\xff"
SAID_LAST = (b"", INIT, CLOSE, INIT + CLOSE, NO_JSON, NO_FRAME, CLOSE + CLOSE)


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def opened(sockets: ExitStack, port: int) -> socket.socket:
    """A WebSocket whose client reads what the test reads."""
    loop = asyncio.get_running_loop()
    connection = sockets.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
    connection.setblocking(False)
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.sock_sendall(connection, HEAD)
    assert await loop.sock_recv(connection, 12) == b"HTTP/1.1 101"
    return connection


async def test_a_closing_client_that_reads_nothing_stops_no_server(
    sockets: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that has said close, with bytes of ours before it, is no error of the server's stop."""
    gone = asyncio.Event()

    async def talkative(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "graphql-transport-ws"})
        await send({"type": "websocket.send", "bytes": bytes(8 << 20)})
        assert (await receive())["type"] == "websocket.disconnect"
        gone.set()
        await receive()  # for ever: its socket is still there when the server stops

    async with serve_http(talkative, host="127.0.0.1", port=0, max_websocket_message=1 << 16, drain=1) as port:
        loop = asyncio.get_running_loop()
        closing = await opened(sockets, port)
        await loop.sock_sendall(closing, CLOSE)
        still_open = await opened(sockets, port)
        await gone.wait()
    with pytest.raises(ConnectionRefusedError):
        await opened(sockets, port)
    assert [record.exc_info for record in caplog.records if record.exc_info] == []
    assert still_open.fileno() > 0


@pytest.mark.system
async def test_sigterm_with_sockets_in_every_state_logs_no_traceback(sockets: ExitStack, tmp_path: Path) -> None:
    """A GraphQL server that is stopped while clients open, use and close WebSockets ends well."""
    loop = asyncio.get_running_loop()
    around = surroundings(tmp_path, {"SHOP_OTLP_URL": ""})
    spec = next(spec for spec in TABLE if spec.name == "graphql_server")
    port = around.ports["SHOP_GRAPHQL_PORT"]
    output = tmp_path / "log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shop", "run", spec.name, env=around.of(spec), stdout=log, stderr=log
        )
        try:

            async def listens() -> bool:
                try:
                    await opened(sockets, port)
                except OSError:
                    return False
                return True

            await eventually(listens, within=30)
            connections = [await opened(sockets, port) for _ in range(70)]
            half_open = sockets.enter_context(socket.socket())
            half_open.setblocking(False)
            await loop.sock_connect(half_open, ("127.0.0.1", port))
            await loop.sock_sendall(half_open, HEAD[:60])
            for number, connection in enumerate(connections):
                await loop.sock_sendall(connection, SAID_LAST[number % len(SAID_LAST)])
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    told = output.read_text()
    assert "Traceback" not in told
    assert '"error"' not in told
    assert logging.getLevelName(logging.ERROR) not in told
