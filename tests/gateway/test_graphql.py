from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chassis.http.server import serve_http
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop


class FakeGraphql:
    """A fake: answers with the request that it got."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        self.seen.append((scope, body))
        headers = [(b"content-type", b"application/graphql-response+json"), (b"x-internal", b"secret")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"data":', "more_body": True})
        await send({"type": "http.response.body", "body": b'{"ok":true}}'})


@pytest.fixture
async def graphql() -> AsyncIterator[tuple[FakeGraphql, str]]:
    fake = FakeGraphql()
    async with serve_http(fake, host="127.0.0.1", port=0) as port:
        yield fake, f"http://127.0.0.1:{port}"


async def test_query(start_shop: StartShop, graphql: tuple[FakeGraphql, str]) -> None:
    """A query is passed on with the caller's token and trace, and the answer comes back as it is."""
    fake, url = graphql
    async with start_shop(graphql_url=url) as shop:
        headers = {**await shop.signed_in(), "accept": "application/graphql-response+json", "cookie": "a=b"}
        response = await shop.client.post("/graphql", json={"query": "{ me { id } }"}, headers=headers)
    scope, body = fake.seen[0]
    passed = {name.decode(): value.decode() for name, value in scope["headers"]}
    assert (response.status_code, response.content) == (200, b'{"data":{"ok":true}}')
    assert response.headers["content-type"] == "application/graphql-response+json"
    assert "x-internal" not in response.headers
    assert body == b'{"query":"{ me { id } }"}'
    assert (passed["authorization"], passed["accept"]) == (headers["authorization"], headers["accept"])
    assert "cookie" not in passed
    assert passed["traceparent"][3:35] == response.headers["traceparent"][3:35]


async def test_query_by_get(start_shop: StartShop, graphql: tuple[FakeGraphql, str]) -> None:
    """A query in the address is passed on byte for byte."""
    fake, url = graphql
    async with start_shop(graphql_url=url) as shop:
        await shop.client.get("/graphql?query=%7Bme%7D&a=%2B+%C3%A4")
    assert (fake.seen[0][0]["method"], fake.seen[0][0]["query_string"]) == ("GET", b"query=%7Bme%7D&a=%2B+%C3%A4")


async def test_server_away(shop: Shop) -> None:
    """While the GraphQL server is away, the answer is a 503 problem that says when to come back."""
    response = await shop.client.post("/graphql", json={"query": "{ me { id } }"})
    assert (response.status_code, response.json()["code"]) == (503, "UPSTREAM_UNAVAILABLE")
    assert int(response.headers["retry-after"]) >= 1


async def test_server_too_slow(start_shop: StartShop) -> None:
    """A GraphQL server that does not answer within the request's budget is a 504."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with (
        serve_http(silent, host="127.0.0.1", port=0) as port,
        start_shop(graphql_url=f"http://127.0.0.1:{port}", request_budget=0.2) as shop,
    ):
        response = await shop.client.post("/graphql", json={"query": "{ me { id } }"})
    assert (response.status_code, response.json()["code"]) == (504, "DEADLINE_EXCEEDED")
