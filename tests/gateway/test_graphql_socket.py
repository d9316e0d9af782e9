"""GraphQL over WebSocket, passed on by the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from chassis.http.server import serve_http
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop
from tests.waiting import eventually

PROTOCOL = websockets.Subprotocol("graphql-transport-ws")


class FakeServer:
    """Says back what it hears, closes with the code that it is sent, and remembers how it was reached and left."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.left: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text") or ""
            if text.startswith("close "):
                await send({"type": "websocket.close", "code": int(text.split()[1]), "reason": "as you say"})
                return
            await send({"type": "websocket.send", **{name: event.get(name) for name in ("text", "bytes")}})
        self.left.append(event["code"])


@pytest.fixture
async def behind() -> AsyncIterator[tuple[FakeServer, str]]:
    fake = FakeServer()
    async with serve_http(fake, host="127.0.0.1", port=0, max_websocket_message=1 << 20) as port:
        yield fake, f"http://127.0.0.1:{port}"


@asynccontextmanager
async def connected(shop: Shop, path: str = "/graphql", **headers: str) -> AsyncIterator[ClientConnection]:
    url = str(shop.client.base_url).replace("http", "ws", 1).rstrip("/") + path
    async with websockets.connect(url, subprotocols=[PROTOCOL], additional_headers=headers, open_timeout=60) as socket:
        yield socket


async def close_code(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(10):
        await socket.wait_closed()
    return socket.close_code, socket.close_reason


@pytest.mark.parametrize("path", ["/graphql", "/graphql/ws"])
async def test_both_ways(start_shop: StartShop, behind: tuple[FakeServer, str], path: str) -> None:
    """What either side says reaches the other as it is, and so do the subprotocol and the token in the header."""
    fake, url = behind
    given = {"Authorization": "Bearer x", "X-Shop-Client": "192.0.2.7"}
    async with start_shop(graphql_url=url) as shop, connected(shop, path, **given) as socket:
        assert socket.subprotocol == PROTOCOL
        for said in ('{"type":"ping"}', b"\x00\xff", "x" * 200_000):
            await socket.send(said)
            assert await asyncio.wait_for(socket.recv(), 10) == said
    headers = dict(fake.scopes[0]["headers"])
    assert headers[b"authorization"] == b"Bearer x"
    assert headers[b"traceparent"]
    # Whose calls are counted is not the client's to say.
    assert headers[b"x-shop-client"] == b"127.0.0.1"


@pytest.mark.parametrize("code", [1000, 1013, 4401, 4429])
async def test_closed_by_the_server(start_shop: StartShop, behind: tuple[FakeServer, str], code: int) -> None:
    """The server's close code and reason reach the client."""
    async with start_shop(graphql_url=behind[1]) as shop, connected(shop) as socket:
        await socket.send(f"close {code}")
        assert await close_code(socket) == (code, "as you say")


async def test_closed_by_the_client(start_shop: StartShop, behind: tuple[FakeServer, str]) -> None:
    """When the client closes, so does the connection to the server."""
    fake, url = behind
    async with start_shop(graphql_url=url) as shop:
        async with connected(shop) as socket:
            await socket.close(4999)
        assert await eventually(lambda: fake.left) == [4999]


async def test_server_away(shop: Shop) -> None:
    """While the server is away, a client gets a refusal that even a browser sees, and is asked to come back."""
    async with connected(shop) as socket:
        assert await close_code(socket) == (1013, "UPSTREAM_UNAVAILABLE")


async def test_server_stops(start_shop: StartShop) -> None:
    """A server that stops takes its clients' connections with it, with a code after which they come back."""
    fake = FakeServer()
    stop = asyncio.Event()

    async def serve(started: asyncio.Future[int]) -> None:
        async with serve_http(fake, host="127.0.0.1", port=0, max_websocket_message=1 << 20) as port:
            started.set_result(port)
            await stop.wait()

    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(started))
    async with start_shop(graphql_url=f"http://127.0.0.1:{await started}") as shop, connected(shop) as socket:
        await socket.send("hello")
        await socket.recv()
        stop.set()
        assert (await close_code(socket))[0] == 1012
        await serving


async def test_no_other_sockets(shop: Shop) -> None:
    """There is no WebSocket but GraphQL's."""
    for path in ("/v1/products", "/v1/auth/token"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connected(shop, path):
                pass
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [
        ("http://localhost:5173", True),
        ("https://shop.example", True),
        ("https://admin.example", True),
        ("https://evil.example", False),
        ("http://shop.example", False),
        ("null", False),
    ],
)
async def test_origins(start_shop: StartShop, behind: tuple[FakeServer, str], origin: str, admitted: bool) -> None:
    """RFC 6455, 10.2: a page of an origin that is not configured cannot connect, and costs the server nothing."""
    origins = {
        "allowed_origins": ("http://localhost:*", "https://shop.example"),
        "cors_origins": "https://admin.example",
    }
    async with start_shop(graphql_url=behind[1], **origins) as shop:
        if admitted:
            async with connected(shop, Origin=origin):
                pass
            return
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connected(shop, Origin=origin):
                pass
    assert refused.value.response.status_code == 403
    assert b"FOREIGN_ORIGIN" in refused.value.response.body
    assert behind[0].scopes == []


async def test_own_page(start_shop: StartShop, behind: tuple[FakeServer, str]) -> None:
    """A page that the gateway itself has served, such as GraphiQL, may connect wherever the gateway is."""
    async with start_shop(graphql_url=behind[1], allowed_origins=()) as shop:
        own = str(shop.client.base_url).rstrip("/")
        async with connected(shop, Origin=own) as socket:
            assert socket.subprotocol == PROTOCOL


async def test_rate_limit(start_shop: StartShop, behind: tuple[FakeServer, str]) -> None:
    """Connecting counts against the client's limit."""
    async with start_shop(graphql_url=behind[1], client_rate_limit="2/minute") as shop:
        for _ in range(2):
            async with connected(shop):
                pass
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connected(shop):
                pass
    assert refused.value.response.status_code == 429


async def test_largest_message(start_shop: StartShop, behind: tuple[FakeServer, str]) -> None:
    """A message that is larger than a query may be closes with 1009."""
    async with start_shop(graphql_url=behind[1]) as shop, connected(shop) as socket:
        await socket.send("x" * 300_000)
        assert (await close_code(socket))[0] == 1009
