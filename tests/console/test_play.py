"""The page's calls: whose token they show, and how much of an answer they take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from chassis.errors import ShopError
from chassis.observability.tracing import Telemetry
from console.play import http_calls
from console.play.call import MAX_ANSWER, Call
from console.play.http_calls import HttpCalls
from console.play.own_spans import client_telemetry
from console.play.player import Play
from console.play.streams import StreamCalls
from console.store import Bounds, TraceStore

GATEWAY, ERP = "http://gateway.test", "http://erp.test"
PRODUCTS = Call("gateway", "GET", "/v1/products", account="demo")
ORDER = Call("gateway", "GET", "/v1/orders/{{order_id}}", account="demo")


class FakeShop:
    """Issues numbered tokens of 900 seconds, and takes the newest one; keeps what it was sent."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tokens = 0
        self.bodies: list[str] = []
        self.statuses: list[int] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/auth/token":
            self.tokens += 1
            return httpx.Response(200, json={"access_token": str(self.tokens), "expires_in": 900})
        if request.url.host == "erp.test":
            self.bodies.append(request.content.decode())
            return httpx.Response(200, text="<SessionId>AB12</SessionId>")
        status = 200 if request.headers["authorization"] == f"Bearer {self.tokens}" else 401
        self.statuses.append(status)
        return httpx.Response(status, json={"items": [{"id": "7"}]})

    def play(self, streams: StreamCalls | None = None, **secrets: str) -> Play:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        calls = HttpCalls(http, {"gateway": GATEWAY, "legacy_soap": ERP}, Telemetry("test"))
        unused: Any = None
        return Play(
            Telemetry("test"), calls, unused, streams or unused, unused, unused, unused, secrets, lambda: self.now
        )


async def test_a_token_is_used_for_as_long_as_it_is_valid() -> None:
    """A page that is left open signs in anew before its token ends, and not sooner."""
    shop = FakeShop()
    play = shop.play()
    for shop.now, tokens in ((0.0, 1), (869.0, 1), (870.0, 2), (900.0, 2)):
        await play.make(PRODUCTS)
        assert shop.tokens == tokens


async def test_a_token_that_is_refused_is_used_no_more() -> None:
    """The shop may be another one than before: reading signs in anew at once, a call of the page with the next one."""
    shop = FakeShop()
    play = shop.play()
    await play.make(PRODUCTS)
    shop.tokens += 1
    assert [(await play.make(PRODUCTS))["status"] for _ in range(2)] == [401, 200]
    shop.tokens += 1
    shop.statuses.clear()
    await play.make(ORDER)
    assert shop.statuses[:2] == [401, 200]


async def test_a_websocket_that_refuses_the_token_has_it_forgotten() -> None:
    """It closes with 4401, which the page shows, and the next subscription signs in anew."""

    async def refuse(socket: ServerConnection) -> None:
        await socket.close(4401, "token expired")

    shop = FakeShop()
    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        play = shop.play(StreamCalls(f"http://127.0.0.1:{port}", None, Telemetry("test")))
        call = Call("notifier", "GET", "/notifications", body="{}", account="demo", protocol="websocket")
        assert [(await play.make(call))["status"] for _ in range(2)] == [4401, 4401]
    assert shop.tokens == 2


async def test_the_password_of_the_erp_may_be_any_text() -> None:
    """It is escaped in the XML that signs in."""
    shop = FakeShop()
    call = Call("legacy_soap", "POST", "/", body="<a>{{erp_session}}</a>")
    await shop.play(erp_user="A&B", erp_password="<p>").make(call)
    assert "<erp:User>A&amp;B</erp:User><erp:Password>&lt;p&gt;</erp:Password>" in shop.bodies[0]
    assert shop.bodies[1] == "<a>AB12</a>"


class Endless(httpx.AsyncByteStream):
    """A body that goes on for as long as it is read."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b"x" * 100_000

    async def aclose(self) -> None:
        self.closed = True


async def test_an_answer_without_an_end_is_cut_off() -> None:
    """Its beginning is shown and it is counted to a limit; then the connection is closed."""
    body = Endless()
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=body)))
    answer = await HttpCalls(http, {"gateway": GATEWAY}, Telemetry("test")).make("gateway", "GET", "/", {}, b"")
    assert (len(answer.body), answer.size > 8 << 20, body.closed) == (MAX_ANSWER, True, True)


async def test_an_answer_that_is_kept_in_part_has_its_size() -> None:
    """The hop's captured response has as many bytes as came, though its content is only their beginning."""
    store, size = TraceStore(Bounds(1, 1, 1 << 20)), http_calls._MAX_KEPT * 2
    telemetry = client_telemetry(store)
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * size)))
    await HttpCalls(http, {"gateway": GATEWAY}, telemetry).make("gateway", "GET", "/", {}, b"")
    (trace,) = store.newest()
    (span,) = trace.spans.values()
    telemetry.close()
    assert span.received is not None
    content = span.received.content.partition(b"\r\n\r\n")
    assert span.received.size == len(b"".join(content[:2])) + size


async def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte comes, a call ends within its time."""
    monkeypatch.setattr(http_calls, "TIMEOUT", 0.1)
    monkeypatch.setattr(http_calls, "_MAX_READ", 1 << 60)
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless())))
    with pytest.raises(ShopError) as caught:
        await HttpCalls(http, {"gateway": GATEWAY}, Telemetry("test")).make("gateway", "GET", "/", {}, b"")
    assert caught.value.code == "UPSTREAM_UNAVAILABLE"
