"""GraphQL over HTTP: methods, media types and status codes, as the GraphQL Foundation's specification has them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphql.conftest import Client, FakeGateway

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("application/json", "application/json"), ("*/*", "application/json"), (f"{GRAPHQL}, application/json", GRAPHQL)],
)
async def test_media_types(client: Client, accept: str, content_type: str) -> None:
    """The answer has the media type that the client accepts, in UTF-8."""
    assert (await client.ask("{ __typename }", headers={"Accept": accept}))["data"] == {"__typename": "Query"}
    assert client.status == 200
    assert client.headers["Content-Type"] == f"{content_type}; charset=utf-8"


@pytest.mark.parametrize("query", ["{ __typename }", "{ nothing }"])
async def test_an_answer_is_not_cached(client: Client, query: str) -> None:
    """No cache may keep what a query is answered, whether it was carried out or refused."""
    await client.ask(query)
    assert client.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("query", ["{", "{ nothing }", "query ($n: Int!) { me { orders(limit: $n) { id } } }"])
async def test_refused_queries(client: Client, query: str) -> None:
    """A query that is refused is a 400, or a 200 for clients that only accept application/json."""
    await client.ask(query, headers={"Accept": GRAPHQL})
    assert client.status == 400
    await client.ask(query, headers={"Accept": "application/json"})
    assert client.status == 200


async def test_get(client: Client) -> None:
    """A query may come by GET, with its variables as JSON."""
    query = "query P($id: ID!) { product(id: $id) { name } }"
    parameters = {"query": query, "variables": '{"id": "7"}', "operationName": "P"}
    assert (await client.send("GET", params=parameters))["data"] == {"product": {"name": "Product 7"}}


async def test_no_mutation_by_get(client: Client, gateway: FakeGateway) -> None:
    """A mutation by GET is refused and changes nothing."""
    answer = await client.send("GET", params={"query": 'mutation { cancelOrder(id: "1") { id } }'})
    assert (client.status, client.headers["Allow"]) == (405, "POST")
    assert answer["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    assert gateway.calls == []


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": "", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"\xff", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": '{"query": "{me{id}}"}', "headers": {"Content-Type": "text/plain"}}, 415),
        ({"data": "query={me{id}}", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415),
        ({"json": None}, 415),
        ({"json": {}}, 400),
        ({"json": {"query": 7}}, 400),
        ({"json": {"query": "{me{id}}", "variables": "x"}}, 400),
        ({"json": {"query": "{me{id}}", "variables": [1]}}, 400),
        ({"json": {"query": "{me{id}}", "operationName": 7}}, 400),
        ({"json": {"query": "{me{id}}", "extensions": "x"}}, 400),
        ({"json": [{"query": "{me{id}}"}]}, 400),
        ({"json": {"query": "{me{id}}", "variables": {"x": "y" * 300_000}}}, 413),
        ({"data": '{"query":"{me{id}}","variables":' + "[" * 50_000 + "]" * 50_000 + "}"}, 415),
    ],
)
async def test_malformed_requests(client: Client, gateway: FakeGateway, options: dict[str, Any], status: int) -> None:
    """A request that is no GraphQL request gets a 4xx with a code, and the gateway is not asked."""
    answer = await client.send("POST", **options)
    assert client.status == status
    assert answer["errors"][0]["extensions"]["code"]
    assert "data" not in answer
    assert gateway.calls == []


async def test_null_parameters(client: Client) -> None:
    """Parameters that are null count as absent."""
    answer = await client.ask("{ __typename }", variables=None, operationName=None, extensions=None)
    assert answer == {"data": {"__typename": "Query"}}


async def test_deep_variables(client: Client, gateway: FakeGateway) -> None:
    """Variables nested without end are refused like any other nonsense."""
    query = "mutation($i: PlaceOrderInput!){placeOrder(input: $i){id}}"
    body = f'{{"query":"{query}","variables":{{"i":{{"items":{"[" * 900}{"]" * 900}}}}}}}'
    answer = await client.send("POST", data=body, headers={"Content-Type": "application/json"})
    assert answer["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    assert client.status == 200
    assert gateway.calls == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health(client: Client, path: str) -> None:
    """The process says that it is alive and can take work."""
    async with client.session.get(client.url.replace("/graphql", path)) as response:
        assert response.status == 200


async def test_other_paths_and_methods(client: Client) -> None:
    """There is one resource, and it is read by GET and POST."""
    async with client.session.get(client.url + "/other") as response:
        assert response.status == 404
    await client.send("DELETE")
    assert (client.status, client.headers["Allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{GRAPHQL};q=0, {JSON}", JSON),
        (f"{GRAPHQL};q=0", JSON),
        (f"{GRAPHQL};q=0.5, {JSON}", JSON),
        (f"{GRAPHQL}, {JSON};q=0.9", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{JSON};q=0, */*", GRAPHQL),
        ("*/*", JSON),
        (f"text/{GRAPHQL}", JSON),
        (GRAPHQL.upper(), GRAPHQL),
    ],
)
async def test_qualities(client: Client, accept: str, expected: str) -> None:
    """RFC 9110, 12.5.1: the answer's type is the one that the client wants more, and none that it refuses."""
    await client.ask("{ me { id } }", headers={"Accept": accept})
    assert client.headers["Content-Type"].partition(";")[0] == expected
