"""Relay's connections over pages whose cursors only tell where a page ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphql.conftest import Client, FakeGateway

ORDERS = """query ($first: Int, $after: String) { me { ordersConnection(first: $first, after: $after) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""


async def page(client: Client, first: int, after: str | None = None) -> Any:
    answer = await client.ask(ORDERS, variables={"first": first, "after": after})
    assert "errors" not in answer, answer
    return answer["data"]["me"]["ordersConnection"]


def numbers(found: Any) -> list[int]:
    return [int(edge["node"]["id"].removeprefix("123-")) for edge in found["edges"]]


async def test_walk(client: Client, gateway: FakeGateway) -> None:
    """Walking on from each endCursor brings every row once, with one call upstream for each page."""
    gateway.orders_each = 10
    seen: list[int] = []
    after: str | None = None
    pages: list[Any] = []
    while not pages or pages[-1]["pageInfo"]["hasNextPage"]:
        pages.append(await page(client, 4, after))
        seen += numbers(pages[-1])
        after = pages[-1]["pageInfo"]["endCursor"]
        ends = [pages[-1]["edges"][each]["cursor"] for each in (0, -1)]
        assert [pages[-1]["pageInfo"][each] for each in ("startCursor", "endCursor")] == ends
    assert seen == list(range(10))
    assert [each["pageInfo"]["hasPreviousPage"] for each in pages] == [False, True, True]
    assert gateway.paths().count("/v1/orders") == 3


async def test_every_cursor(client: Client, gateway: FakeGateway) -> None:
    """After each row's own cursor come the rows behind it, whatever page the cursor was given out with."""
    gateway.orders_each = 9
    first = await page(client, 3)
    second = await page(client, 5, first["edges"][1]["cursor"])
    assert numbers(second) == [2, 3, 4, 5, 6]
    for number, edge in zip([*numbers(first), *numbers(second)], [*first["edges"], *second["edges"]], strict=True):
        rest = await page(client, 100, edge["cursor"])
        assert numbers(rest) == list(range(number + 1, 9))
        assert not rest["pageInfo"]["hasNextPage"]
    last = (await page(client, 9))["edges"][-1]["cursor"]
    assert await page(client, 2, last) == {
        "edges": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": True, "startCursor": None, "endCursor": None},
    }


async def test_inserted_rows(client: Client, gateway: FakeGateway) -> None:
    """Orders that are placed between two pages are neither told twice nor make others disappear."""
    gateway.orders_each = 6
    found = await page(client, 4)
    gateway.newest = -250
    for edge, number in zip(found["edges"], numbers(found), strict=True):
        assert numbers(await page(client, 100, edge["cursor"])) == list(range(number + 1, 6))
    assert numbers(await page(client, 2)) == [-250, -249]


async def test_deleted_row(client: Client, gateway: FakeGateway) -> None:
    """After a row that is gone, the client is told to begin anew, and not shown some other page."""
    gateway.products = 150
    query = "query ($a: String) { productsConnection(first: 3, after: $a) { edges { cursor node { id } } } }"
    edges = (await client.ask(query))["data"]["productsConnection"]["edges"]
    gateway.gone = {"1", "2"}
    after_last = await client.ask(query, variables={"a": edges[2]["cursor"]})
    assert [each["node"]["id"] for each in after_last["data"]["productsConnection"]["edges"]] == ["3", "4", "5"]
    answer = await client.ask(query, variables={"a": edges[1]["cursor"]})
    assert answer["data"] == {"productsConnection": None}
    assert answer["errors"][0]["extensions"]["errors"] == [{"field": "after", "detail": "begin anew"}]


async def test_products(client: Client, gateway: FakeGateway) -> None:
    """The filter goes with every page."""
    query = '{ productsConnection(category: "books", q: "wire", first: 2) { edges { node { name } } } }'
    answer = await client.ask(query, token="")
    assert [edge["node"]["name"] for edge in answer["data"]["productsConnection"]["edges"]] == [
        "Product 0",
        "Product 1",
    ]
    assert dict(gateway.calls[0].query) == {"category": "books", "q": "wire", "limit": "2"}


@pytest.mark.parametrize(
    ("first", "after", "field"), [(0, None, "first"), (101, None, "first"), (2, "?", "after"), (2, "W10", "after")]
)
async def test_bad_arguments(client: Client, gateway: FakeGateway, first: int, after: str, field: str) -> None:
    """A page size out of bounds and a cursor that is none of ours are refused before anything is asked upstream."""
    query = "query ($f: Int, $a: String) { productsConnection(first: $f, after: $a) { edges { cursor } } }"
    answer = await client.ask(query, variables={"f": first, "a": after})
    assert answer["errors"][0]["extensions"]["errors"][0]["field"] == field
    assert gateway.calls == []


async def test_products_of_a_hundred_orders(client: Client, gateway: FakeGateway) -> None:
    """In a connection, too, each nesting level costs one call."""
    gateway.orders_each, gateway.items_each = 100, 1
    answer = await client.ask(
        "{ me { ordersConnection(first: 100) { edges { node { items { product { name } } } } } } }"
    )
    assert len(answer["data"]["me"]["ordersConnection"]["edges"]) == 100
    assert gateway.paths() == ["/v1/users/me", "/v1/orders", "/v1/products"]
