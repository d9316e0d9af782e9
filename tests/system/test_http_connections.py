"""More connections than a server takes: health checks are answered, and the greediest client pays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from chassis.http.middleware import Receive, Scope, Send
from chassis.http.server import serve_http
from tests.system.raw_http import Clients, Connection, answer, closed, request
from tests.waiting import eventually

MAX_CONNECTIONS = 20


@dataclass
class Server:
    """Answers at once, but `/work` only when `done` is set."""

    port: int = 0
    working: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["path"] == "/work":
            self.working += 1
            await self.done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    app = Server()
    async with serve_http(app, host="127.0.0.1", port=0, max_connections=MAX_CONNECTIONS, drain=1) as app.port:
        yield app
        app.done.set()


@pytest.fixture
async def clients(server: Server) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(server.port, stack)


async def served(connection: Connection) -> bool:
    """Whether a request on this connection is answered; not where the server has closed it."""
    reader, writer = connection
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        async with asyncio.timeout(10):
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


async def test_the_greediest_address_loses_its_idle_connections(server: Server, clients: Clients) -> None:
    """Those that have been idle longest go first; another client keeps the one that it has."""
    modest = await clients.connect(1, "127.0.0.2")
    greedy = await clients.connect(3 * MAX_CONNECTIONS, "127.0.0.3")
    # The modest client's is the last of the most that may stay.
    await eventually(lambda: closed(greedy) == 2 * MAX_CONNECTIONS + 1)
    assert closed(greedy[: 2 * MAX_CONNECTIONS + 1]) == 2 * MAX_CONNECTIONS + 1
    assert await served(modest[0])
    assert await served(greedy[-1])
    assert (await answer(server.port, request("/healthz"))).status == 200


async def test_a_head_that_does_not_end_keeps_no_connection(server: Server, clients: Clients) -> None:
    """A client that sends its header byte by byte has no request under way."""
    slow = await clients.connect(MAX_CONNECTIONS, "127.0.0.3")
    for _, writer in slow:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        await writer.drain()
    assert (await answer(server.port, request("/"))).status == 200
    await eventually(lambda: closed(slow) == 1)


async def test_work_is_never_given_up_for_a_newcomer(server: Server, clients: Clients) -> None:
    """With a request under way on each connection others are refused with 503, and health checks are answered."""
    busy = await clients.connect(MAX_CONNECTIONS)
    for _, writer in busy:
        writer.write(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: server.working == MAX_CONNECTIONS)
    refused = await answer(server.port, request("/"))
    assert (refused.status, refused.problem()["code"]) == (503, "OVERLOADED")
    assert int(refused.headers["retry-after"]) >= 1
    for probe in ("/healthz", "/readyz"):
        assert (await answer(server.port, request(probe))).status == 200
    server.done.set()
    for reader, _ in busy:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert (await answer(server.port, request("/"))).status == 200


async def test_a_refused_client_that_stays_is_left_without_a_traceback(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that neither closes nor stops sending after its refusal is cut after a moment, and that is no error."""
    ((reader, writer),) = await clients.connect(1)
    writer.write(b"this is no HTTP\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")

    async def cut() -> bool:
        try:
            writer.write(b"x")
            await writer.drain()
        except ConnectionError:
            return True
        return False

    await eventually(cut, within=20)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
