"""The servers behind the gateway that speak HTTP themselves: what counts against them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis.errors import ShopError
from chassis.http.server import serve_http
from chassis.observability.tracing import Telemetry
from chassis.resilience.deadlines import begin_deadline
from gateway.clients.http_upstream import HttpUpstream, http_upstream


class Slow:
    """A fake: answers once it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.may.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def asked(upstream: HttpUpstream, seconds: float) -> bytes:
    begin_deadline(seconds)
    async with upstream.request("POST", "/graphql", "", {}, b"{}") as response:
        return await response.read()


async def test_clients_that_were_slow_themselves_close_no_server_to_others() -> None:
    """A request with hardly any time left does not count against the server that it did not wait for."""
    fake = Slow()
    telemetry = Telemetry("test")
    async with (
        serve_http(fake, host="127.0.0.1", port=0) as port,
        http_upstream(
            "graphql_server", f"http://127.0.0.1:{port}", "GraphQL", telemetry, timeout=30, connections=1
        ) as upstream,
    ):
        for _ in range(20):
            with pytest.raises(ShopError, match="graphql_server"):
                await asked(upstream, 0.02)
        fake.may.set()
        assert await asked(upstream, 30) == b"ok"
