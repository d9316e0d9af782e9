"""How a response leaves: its head with the beginning of its body, where that has a length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest
import uvloop

from chassis.http.middleware import Receive, Scope, Send
from chassis.http.server import serve_http

_HEAD = b"HTTP/1.1 200 OK\r\n"
_BODY = b"x" * 1_000


@dataclass
class Server:
    """Answers with a body of two parts, at `/stream` without a length and when `more` is set."""

    port: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        path = scope["path"]
        headers = [] if path == "/stream" else [(b"content-length", b"%d" % len(_BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if path == "/fails":
            raise RuntimeError("the application has failed after the head")
        if path == "/stream":
            await self.more.wait()
        await send({"type": "http.response.body", "body": _BODY[:600], "more_body": True})
        await send({"type": "http.response.body", "body": _BODY[600:]})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    app = Server()
    async with serve_http(app, host="127.0.0.1", port=0, drain=1) as app.port:
        yield app
        app.more.set()


class Packets(asyncio.Protocol):
    """A client that keeps what comes at once, and asks `times` for the same."""

    def __init__(self, times: int) -> None:
        self.pieces: list[list[bytes]] = []
        self.done = asyncio.get_running_loop().create_future()
        self._times = times

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self.pieces[-1].append(data)
        if not b"".join(self.pieces[-1]).endswith(_BODY):
            return
        if len(self.pieces) < self._times:
            self._ask()
        else:
            self._transport.close()
            self.done.set_result(None)

    def _ask(self) -> None:
        self.pieces.append([])
        self._transport.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def test_head_and_body_come_together() -> None:
    """With uvloop, as in production, no head comes without the beginning of its body, which was written next."""

    async def asked() -> list[list[bytes]]:
        async with serve_http(Server(), host="127.0.0.1", port=0, drain=1) as port:
            client = Packets(50)
            await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
            async with asyncio.timeout(10):
                await client.done
        return client.pieces

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pieces = runner.run(asked())
    assert [each[0] for each in pieces if not each[0].startswith(_HEAD) or _BODY[:600] not in each[0]] == []


async def test_a_stream_s_head_does_not_wait_for_its_body(server: Server) -> None:
    """The client of an event stream knows that it is open before the first event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(_HEAD)
        server.more.set()
        assert (await reader.readuntil(b"\r\n0\r\n\r\n")).count(b"x") == len(_BODY)
    writer.close()


async def test_answers_without_a_body_keep_their_order(server: Server) -> None:
    """Of requests that come at once, the head that has no body of its own is not mixed up with the next answer."""
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    both = await _all(server.port, head + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    first, second, body = both.split(b"\r\n\r\n")
    assert first.startswith(_HEAD)
    assert second.startswith(_HEAD)
    assert body == _BODY


async def test_a_head_is_not_lost_with_what_fails_after_it(server: Server) -> None:
    """The client gets the head, and then an end that comes too early: it can tell that the answer is not whole."""
    answer = await _all(server.port, b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(_HEAD)
    assert answer.endswith(b"\r\n\r\n")


async def _all(port: int, sent: bytes) -> bytes:
    """Everything that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        found = await reader.read()
    writer.close()
    return found
