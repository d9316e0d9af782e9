"""What is refused before anything is asked of the gateway."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from graphql_server.bootstrap import Settings, run
from tests.graphql.conftest import Client, FakeGateway

DOUBLING = (
    "query { ...f0 }"
    + "".join(f" fragment f{each} on Query {{ ...f{each + 1} ...f{each + 1} }}" for each in range(80))
    + " fragment f80 on Query { a: me { id } }"
)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ me { orders { items { product { name } } } } }" + " #" * 600, None),
        ("{ " + "me { id } " * 400 + "}", "GRAPHQL_PARSE_FAILED"),
        ("{" + "".join(f" a{each}: me {{ id }}" for each in range(16)) + "}", "TOO_MANY_ALIASES"),
        ("{ products(limit: 100) { " + "availability { available stale asOf } " * 4 + "} }", "QUERY_TOO_COMPLEX"),
        ("{ products(limit: 100) { availability { available stale asOf } } }", None),
        ("{ productsConnection(first: 100) { edges { node { " + "name " * 50 + "} } } }", "QUERY_TOO_COMPLEX"),
        ("{ me { orders(limit: 100) { items { product { a: name b: name } quantity } } } }", None),
        (DOUBLING, "TOO_MANY_ALIASES"),
        (DOUBLING.replace("a:", ""), "QUERY_TOO_COMPLEX"),
        ("{" * 2000, "GRAPHQL_PARSE_FAILED"),
        ("{ a" * 300 + "}" * 300, "GRAPHQL_PARSE_FAILED"),
        ("{ me { ordrs { id } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("query A { me { id } } query B { me { id } }", "INVALID_INPUT"),
        ("query ($n: Int!) { me { orders(limit: $n) { id } } }", "INVALID_INPUT"),
        ("{ ...f } fragment f on Query { ...f }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_limits(client: Client, gateway: FakeGateway, query: str, code: str | None) -> None:
    """A query that asks for too much, or makes no sense, is refused with a code before any upstream call."""
    answer = await client.ask(query)
    if code is None:
        assert "errors" not in answer
        return
    assert answer["errors"][0]["extensions"]["code"] == code
    assert answer["errors"][0]["extensions"]["trace_id"] in client.headers["traceparent"]
    assert "data" not in answer
    assert gateway.calls == []


async def test_depth(settings: Settings, gateway: FakeGateway) -> None:
    """A query that is nested deeper than the setting allows is refused, fragments counted."""
    shallow = settings.model_copy(update={"graphql_max_depth": 3})
    async with run(shallow) as running, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{running.port}/graphql")
        answer = await client.ask("{ me { orders { ...deeper } } } fragment deeper on Order { items { name } }")
        assert answer["errors"][0]["extensions"]["code"] == "QUERY_TOO_DEEP"
        assert gateway.calls == []
        assert "errors" not in await client.ask("{ me { orders { id } } }")


async def test_cost_is_told(client: Client) -> None:
    """A query that costs too much is told what it costs and what the limit is."""
    answer = await client.ask("{ products(limit: 100) { " + "availability { available } " * 5 + "} }")
    error = answer["errors"][0]
    assert error["message"] == "the query costs 5501; the limit is 5000"
    assert (error["extensions"]["found"], error["extensions"]["limit"]) == (5501, 5000)


@pytest.mark.parametrize("variables", [{"n": 100}, {"n": 100.0}, {}])
async def test_cost_counts_variables(client: Client, gateway: FakeGateway, variables: dict[str, Any]) -> None:
    """A page size in a variable costs what it asks for, however it is written or left to its default."""
    fields = " ".join(f"a{each}: name" for each in range(12))
    query = f"query ($n: Int = 100) {{ me {{ orders(limit: $n) {{ items {{ product {{ {fields} }} }} }} }} }}"
    answer = await client.ask(query, variables=variables)
    assert answer["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    assert gateway.calls == []
    assert "errors" not in await client.ask(query, variables={"n": 2})


@pytest.mark.parametrize("limit", ["0", "-1", "101"])
async def test_page_size(client: Client, gateway: FakeGateway, limit: str) -> None:
    """A page has 1 to 100 rows."""
    answer = await client.ask(f"{{ products(limit: {limit}) {{ id }} }}")
    assert answer["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    assert gateway.calls == []


async def test_production_tells_no_names(settings: Settings) -> None:
    """In production there is no introspection, no suggestion and no page."""
    production = settings.model_copy(update={"env": "production"})
    async with run(production) as running, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{running.port}/graphql")
        for query in ("{ __schema { types { name } } }", '{ __type(name: "User") { name } }'):
            assert (await client.ask(query))["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert "Did you mean" not in str(await client.ask("{ me { ordrs { id } } }"))
        assert "errors" not in await client.ask("{ __typename me { id } }")
        await client.send("GET", headers={"Accept": "text/html"})
        assert client.status == 400


async def test_development_explores(client: Client) -> None:
    """In development a browser gets a page that works without a network, and tools get the schema."""
    async with client.session.get(client.url, headers={"Accept": "text/html,*/*"}) as response:
        assert response.status == 200
        page = await response.text()
    assert "<textarea" in page
    assert "//" not in page.replace("// What was written", ""), "an address: the page needs nothing from elsewhere"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    answer = await client.ask("{ __schema { queryType { fields { name } } } }")
    assert {"name": "products"} in answer["data"]["__schema"]["queryType"]["fields"]
    assert "Did you mean 'orders'" in str(await client.ask("{ me { ordrs { id } } }"))
