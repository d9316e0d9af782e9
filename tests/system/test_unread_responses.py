"""Clients that take nothing of their responses: what is sent to them does not wait for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import uvloop

from chassis.http.middleware import Receive, Scope, Send
from chassis.http.server import serve_http
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="not run: needs Linux")
PIECE = b"x" * (1 << 20)
# Far more than all buffers on the way hold.
PIECES = 32
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """Sends 32 MiB at `/stream`; at `/whole` as one piece. With `timeout`, a response is given up after so long."""

    def __init__(self, timeout: float | None) -> None:
        self.begun = self.ended = 0
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        self.begun += 1
        pieces, last = ([PIECE] * PIECES, b"") if scope["path"] == "/stream" else ([], PIECE * PIECES)
        try:
            async with asyncio.timeout(self._timeout):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": last})
        finally:
            self.ended += 1


@contextmanager
def unread(port: int, *paths: bytes) -> Iterator[None]:
    """A client that requests these one after the other, and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
        client.connect(("127.0.0.1", port))
        client.sendall(b"".join(GET % path for path in paths))
        yield


def connected(port: int) -> int:
    """How many clients the server still has."""
    own = psutil.Process().net_connections("tcp4")
    return sum(bool(each.raddr) and each.laddr.port == port for each in own)


@pytest.mark.parametrize("paths", [[b"/stream"], [b"/whole", b"/whole"]], ids=["begun", "pipelined"])
def test_a_response_that_was_given_up_ends_its_connection(paths: list[bytes]) -> None:
    """An application that gives up on a client which takes nothing leaves neither a task nor a connection behind."""

    async def tried() -> None:
        server = Server(timeout=0.2)
        async with serve_http(server, host="127.0.0.1", port=0, unread=600) as port:
            with unread(port, *paths):
                await eventually(lambda: server.begun == len(paths))
                await eventually(lambda: server.ended == len(paths) and not connected(port))

    uvloop.run(tried())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="not run: needs TCP_USER_TIMEOUT (Linux)")
def test_a_client_that_takes_nothing_loses_its_connection() -> None:
    """Where an application waits without end, the connection ends after the time in which a client has to read."""

    async def tried() -> None:
        server = Server(timeout=None)
        async with serve_http(server, host="127.0.0.1", port=0, unread=0.5) as port:
            with unread(port, b"/stream"):
                await eventually(lambda: server.begun == 1)
                await eventually(lambda: server.ended == 1 and not connected(port))

    uvloop.run(tried())
