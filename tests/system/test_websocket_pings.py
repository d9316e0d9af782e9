"""A WebSocket client that pings and does not read, on the server that the gateway and the GraphQL server use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from chassis.http.middleware import Receive, Scope, Send
from chassis.http.server import serve_http
from tests.memory import kept_memory, needs_proc

PAYLOAD = 125  # of a control frame, at most (RFC 6455, section 5.5)
PINGS = 1 << 16
BATCH = 256
# Half of the 8 MiB of their pongs.
MAX_GROWTH = 4 << 20

pytestmark = needs_proc


def ping(number: int) -> bytes:
    """A ping with its number; a mask of zeros leaves the payload as it is."""
    return bytes((0x89, 0x80 | PAYLOAD)) + bytes(4) + payload(number)


def payload(number: int) -> bytes:
    return number.to_bytes(PAYLOAD)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts a WebSocket and never says anything."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.fixture
async def client() -> AsyncIterator[socket.socket]:
    """An open WebSocket that reads only what the test reads."""
    loop = asyncio.get_running_loop()
    async with serve_http(silent, host="127.0.0.1", port=0, max_websocket_message=1 << 16, drain=1) as port:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", port))
            await loop.sock_sendall(
                connection,
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(connection, 1)
            assert head.startswith(b"HTTP/1.1 101"), head
            yield connection


async def received_until(connection: socket.socket, last: bytes) -> int:
    """Read until these bytes have come; how many have."""
    loop = asyncio.get_running_loop()
    count, tail = 0, b""
    while not tail.endswith(last):
        piece = await loop.sock_recv(connection, 64 << 10)
        assert piece, "the server closed the connection"
        count += len(piece)
        tail = (tail + piece)[-len(last) :]
    return count


async def test_pongs_do_not_pile_up_for_a_client_that_never_reads(client: socket.socket) -> None:
    """However many pings come, little waits for their client, and the latest is answered once it reads again."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, ping(0))
    await received_until(client, payload(0))
    before = kept_memory()
    for first in range(1, PINGS, BATCH):
        await loop.sock_sendall(client, b"".join(map(ping, range(first, first + BATCH))))
    growth = kept_memory() - before
    async with asyncio.timeout(20):
        sent = await received_until(client, payload(PINGS))
    assert sent < PINGS * PAYLOAD, "it was read all the time"
    assert growth < MAX_GROWTH


async def test_each_ping_of_a_client_that_reads_is_answered(client: socket.socket) -> None:
    """Ten pings in one packet have ten pongs, in their order."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"".join(map(ping, range(10))))
    answered = b""
    async with asyncio.timeout(10):
        while len(answered) < 10 * (2 + PAYLOAD):
            answered += await loop.sock_recv(client, 64 << 10)
    assert answered == b"".join(bytes((0x8A, PAYLOAD)) + payload(number) for number in range(10))


async def test_a_ping_and_a_close_in_one_packet_are_both_answered(client: socket.socket) -> None:
    """The pong comes before the reply to the close, and then the connection ends."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, ping(7) + b"\x88\x82" + bytes(4) + (1000).to_bytes(2))
    answered = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while piece := await loop.sock_recv(client, 64 << 10):
                answered += piece
    assert answered == bytes((0x8A, PAYLOAD)) + payload(7) + b"\x88\x02" + (1000).to_bytes(2)
