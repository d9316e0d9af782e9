"""Streams and answers of the HTTP servers behind the gateway, as its clients see them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import StartShop
from tests.waiting import eventually

LISTEN = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
# More than one pool of connections has places by default.
STREAMS = 210


class Behind:
    """A fake of mcp_server and of the console: streams stay open until `ends`, or break off when it is to break."""

    def __init__(self) -> None:
        self.streams = 0
        self.waiting = 0
        self.breaks = False
        self.answers = True
        self.ends = asyncio.Event()
        self.url = ""

    async def mcp(self, request: web.Request) -> web.StreamResponse:
        if (await request.json())["method"] == LIST["method"]:
            self.waiting += 1
            try:
                while not self.answers:
                    await asyncio.Event().wait()
            finally:
                self.waiting -= 1
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {}})
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: {}\n\n")
        self.streams += 1
        if self.breaks:
            assert request.transport is not None
            request.transport.abort()
        await self.ends.wait()
        return stream

    async def audit(self, _: web.Request) -> web.Response:
        busy = {"code": "OVERLOADED", "detail": "an audit is running"}
        return web.json_response(busy, status=503, headers={"retry-after": "7"})


@pytest.fixture
async def behind() -> AsyncIterator[Behind]:
    fake = Behind()
    app = web.Application()
    app.router.add_post("/mcp", fake.mcp)
    app.router.add_post("/api/audit", fake.audit)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    fake.ends.set()
    await runner.cleanup()


async def test_open_streams_keep_no_call_waiting(start_shop: StartShop, behind: Behind) -> None:
    """However many listen to MCP's events, a message beside them is answered."""
    limits = httpx.Limits(max_connections=None)
    async with start_shop(mcp_url=behind.url) as shop, asyncio.timeout(60):
        headers, base = await shop.signed_in(), shop.client.base_url
        async with httpx.AsyncClient(base_url=base, headers=headers, limits=limits, timeout=30) as client:

            async def listen() -> None:
                async with client.stream("POST", "/mcp", json=LISTEN) as stream:
                    assert stream.status_code == 200
                    await stream.aread()

            async with asyncio.TaskGroup() as group:
                for _ in range(STREAMS):
                    group.create_task(listen())
                await eventually(lambda: behind.streams == STREAMS, within=30)
                assert (await client.post("/mcp", json=LIST)).status_code == 200
                behind.ends.set()


async def test_a_message_whose_client_has_gone_is_given_up(start_shop: StartShop, behind: Behind) -> None:
    """A client that leaves before MCP's answer takes its call along."""
    behind.answers = False
    async with start_shop(mcp_url=behind.url) as shop, asyncio.timeout(60):
        call = asyncio.create_task(shop.client.post("/mcp", json=LIST, headers=await shop.signed_in()))
        await eventually(lambda: behind.waiting == 1)
        call.cancel()
        await eventually(lambda: behind.waiting == 0)


async def test_a_stream_that_breaks_off_ends(
    start_shop: StartShop, behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    """When mcp_server dies while it sends, its client has a whole answer that ended, and no error is logged."""
    behind.breaks = True
    with caplog.at_level(logging.WARNING):
        async with start_shop(mcp_url=behind.url) as shop, asyncio.timeout(60):
            answer = await shop.client.post("/mcp", json=LISTEN, headers=await shop.signed_in())
    assert (answer.status_code, answer.content) == (200, b"data: {}\n\n")
    assert "event stream aborted: upstream failed" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_audit_that_has_to_wait_says_for_how_long(start_shop: StartShop, behind: Behind) -> None:
    """The console's Retry-After reaches the client."""
    async with start_shop(console_url=behind.url) as shop:
        answer = await shop.client.post("/v1/audit", headers=await shop.admin())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
