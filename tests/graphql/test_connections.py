"""Relay's connections over pages whose cursors only say where a page ends."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.pagination import encode_cursor
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
    """Orders that are placed between two pages neither come twice nor make others disappear."""
    gateway.orders_each = 6
    found = await page(client, 4)
    gateway.newest = -250
    for edge, number in zip(found["edges"], numbers(found), strict=True):
        assert numbers(await page(client, 100, edge["cursor"])) == list(range(number + 1, 6))
    assert numbers(await page(client, 2)) == [-250, -249]


@pytest.mark.parametrize(
    ("gone", "row"),
    [
        ({1}, 1),
        ({0}, 0),
        ({0, 1, 2}, 2),
        ({2, 3, 4, 5, 6}, 4),
        (set(range(1, 21)), 20),
        (set(range(5, 60)), 24),
        # On both sides of a page's end
        ({99}, 99),
        ({100}, 100),
        ({98, 99, 100, 101}, 100),
        # The last
        ({149}, 149),
        (set(range(112, 150)), 130),
    ],
)
async def test_deleted_row(client: Client, gateway: FakeGateway, gone: set[int], row: int) -> None:
    """After a row that is gone, the list goes on at the next row that is there, whichever others are gone with it."""
    gateway.products = 150
    query = """query ($f: Int, $a: String) {
      productsConnection(first: $f, after: $a) { edges { cursor node { id } } pageInfo { hasNextPage } }
    }"""
    cursors: dict[int, str] = {}
    after = None
    for _ in range(2):
        found = (await client.ask(query, variables={"f": 75, "a": after}))["data"]["productsConnection"]
        cursors |= {int(edge["node"]["id"]): edge["cursor"] for edge in found["edges"]}
        after = found["edges"][-1]["cursor"]
    gateway.gone = {str(each) for each in gone}
    expected = [each for each in range(row + 1, 150) if each not in gone]
    answer = await client.ask(query, variables={"f": 4, "a": cursors[row]})
    found = answer["data"]["productsConnection"]
    assert [int(edge["node"]["id"]) for edge in found["edges"]] == expected[:4]
    assert found["pageInfo"]["hasNextPage"] is (len(expected) > 4)


async def test_no_row_is_left_out(client: Client, gateway: FakeGateway) -> None:
    """Where a cursor remembers none of the rows that are left, rows come again rather than being left out."""
    gateway.products = 100
    query = "query ($a: String) { productsConnection(first: 100, after: $a) { edges { cursor node { id } } } }"
    edges = (await client.ask(query))["data"]["productsConnection"]["edges"]
    gateway.gone = {str(each) for each in range(2, 91)}
    answer = await client.ask(query, variables={"a": edges[90]["cursor"]})
    found = [int(edge["node"]["id"]) for edge in answer["data"]["productsConnection"]["edges"]]
    assert found == [0, 1, *range(91, 100)]
    assert len(edges[98]["cursor"]) < 300


async def test_row_out_of_reach(client: Client, gateway: FakeGateway) -> None:
    """A row that a thousand newer ones have come before is not looked for without end: the client begins anew."""
    gateway.orders_each = 6
    cursor = (await page(client, 4))["edges"][1]["cursor"]
    gateway.newest = -2_000
    answer = await client.ask(ORDERS, variables={"first": 4, "after": cursor})
    assert answer["errors"][0]["extensions"]["errors"] == [{"field": "after", "detail": "start from the first page"}]


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
    ("first", "after", "field"),
    [
        (0, None, "first"),
        (101, None, "first"),
        (2, "?", "after"),
        (2, "W10", "after"),
        (2, encode_cursor("", "1"), "after"),
    ],
)
async def test_bad_arguments(client: Client, gateway: FakeGateway, first: int, after: str, field: str) -> None:
    """A page size out of bounds and a cursor that is none of ours are refused before any upstream call."""
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
