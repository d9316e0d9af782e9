"""What is refused before any call to the gateway."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from graphql import get_introspection_query

from graphql_server.bootstrap import Settings, run
from tests.graphql.conftest import Client, FakeGateway

DOUBLING = (
    "query { ...f0 }"
    + "".join(f" fragment f{each} on Query {{ ...f{each + 1} ...f{each + 1} }}" for each in range(80))
    + " fragment f80 on Query { a: me { id } }"
)

FIELDS_OF_TYPE = " fragment F on __Type { name fields { name type { name ofType { name } } args { name } } }"
MORE_OF_TYPE = """
  fragment F on __Type { fields { args { type { ...T } } type { ...T } } inputFields { type { ...T } } }
  fragment T on __Type { kind name description ofType { kind name description ofType { kind name description } } }
"""
MANY_TYPES = "".join(f" a{each}: types {{ ...F }}" for each in range(115))
MANY_ALIASES = "".join(f" a{each}: me {{ id }}" for each in range(16))
DOUBLING_TYPES = (
    "".join(f" fragment s{each} on __Schema {{ ...s{each + 1} ...s{each + 1} }}" for each in range(40))
    + " fragment s40 on __Schema { a: types { ...F } }"
    + FIELDS_OF_TYPE
)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ me { orders { items { product { name } } } } }" + " #" * 600, None),
        ("{ " + "me { id } " * 400 + "}", "GRAPHQL_PARSE_FAILED"),
        ("{ me { id } } #" + "x" * 16_384, "QUERY_TOO_LONG"),
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
        ("{ products(limit: " + "9" * 5_000 + ") { id } }", "QUERY_TOO_COMPLEX"),
        ("query ($n: Int = -" + "9" * 5_000 + ") { products(limit: $n) { id } }", "QUERY_TOO_COMPLEX"),
        ("{ products(limit: 1e" + "9" * 5_000 + ") { id } }", "QUERY_TOO_COMPLEX"),
        ("query A { me { id } } query B { me { id } }", "INVALID_INPUT"),
        ("query ($n: Int!) { me { orders(limit: $n) { id } } }", "INVALID_INPUT"),
        ("{ ...f } fragment f on Query { ...f }", "GRAPHQL_VALIDATION_FAILED"),
        # Below __schema and __type
        (get_introspection_query(), None),
        (get_introspection_query(input_value_deprecation=True, schema_description=True), None),
        ("{ __schema {" + MANY_TYPES + "} }" + FIELDS_OF_TYPE, "TOO_MANY_ALIASES"),
        (
            "{"
            + MANY_TYPES[: MANY_TYPES.index(" a60")].replace("types", '__type(name: "User")')
            + "}"
            + FIELDS_OF_TYPE,
            "TOO_MANY_ALIASES",
        ),
        ("{ __schema { ... on __Schema {" + MANY_TYPES + "} } }" + FIELDS_OF_TYPE, "TOO_MANY_ALIASES"),
        ("{ __schema { ...s } } fragment s on __Schema {" + MANY_TYPES + "}" + FIELDS_OF_TYPE, "TOO_MANY_ALIASES"),
        ("{ __schema { ...s0 } }" + DOUBLING_TYPES, "TOO_MANY_ALIASES"),
        ("{ __schema {" + MANY_TYPES[: MANY_TYPES.index(" a15")] + "} }" + MORE_OF_TYPE, "QUERY_TOO_COMPLEX"),
        ('{ __type(name: "User") {' + "ofType { " * 20 + "name" + "}" * 21 + "}", "QUERY_TOO_DEEP"),
        # Of the whole document
        ("query A { me { id } } query B {" + MANY_ALIASES + "}", "TOO_MANY_ALIASES"),
        ("query A { me { id } } query B { __schema { ...s0 } }" + DOUBLING_TYPES, "TOO_MANY_ALIASES"),
        ("query A { me { id } }" + "".join(f" query q{n} {{ me {{ id }} }}" for n in range(20)), "TOO_MANY_OPERATIONS"),
        ("{ me { id " + "@include(if: true) " * 51 + "} }", "TOO_MANY_DIRECTIVES"),
        ("{ me { id " + "@unknown " * 400 + "} }", "TOO_MANY_DIRECTIVES"),
        ("{" + "me { id } " * 101 + "}", "QUERY_TOO_COMPLEX"),
        ("{ unknown" + " { me" * 60 + "}" * 61, "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_limits(client: Client, gateway: FakeGateway, query: str, code: str | None) -> None:
    """A query that is too large, or makes no sense, is refused with a code before any upstream call."""
    answer = await client.ask(query)
    if code is None:
        assert "errors" not in answer
        return
    assert answer["errors"][0]["extensions"]["code"] == code
    assert answer["errors"][0]["extensions"]["trace_id"] in client.headers["traceparent"]
    assert "data" not in answer
    assert gateway.calls == []


async def test_operations_that_are_not_executed(client: Client, gateway: FakeGateway) -> None:
    """The limits hold for each operation of a document, whichever of them is executed."""
    answer = await client.ask(f"query A {{ me {{ id }} }} query B {{ {MANY_ALIASES} }}", operationName="A")
    assert answer["errors"][0]["extensions"]["code"] == "TOO_MANY_ALIASES"
    assert gateway.calls == []
    # What a variable decides is the business of the operation that is executed.
    other = "query B($n: Int) { products(limit: $n) { " + "name availability { available } " * 20 + "} }"
    assert "errors" not in await client.ask("query A { me { id } } " + other, operationName="A")


async def test_depth(settings: Settings, gateway: FakeGateway) -> None:
    """A query that is nested deeper than the setting allows is refused, fragments counted."""
    shallow = settings.model_copy(update={"graphql_max_depth": 3})
    async with run(shallow) as running, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{running.port}/graphql")
        answer = await client.ask("{ me { orders { ...deeper } } } fragment deeper on Order { items { name } }")
        assert answer["errors"][0]["extensions"]["code"] == "QUERY_TOO_DEEP"
        assert gateway.calls == []
        assert "errors" not in await client.ask("{ me { orders { id } } }")


async def test_no_aliases_at_all(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of 0 refuses the first alias."""
    monkeypatch.setenv("SHOP_GRAPHQL_MAX_ALIASES", "0")
    strict = settings.model_copy(update={"graphql_max_aliases": Settings().graphql_max_aliases})
    async with run(strict) as running, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{running.port}/graphql")
        answer = await client.ask("{ mine: me { id } }")
        assert answer["errors"][0]["extensions"]["code"] == "TOO_MANY_ALIASES"
        assert "errors" not in await client.ask("{ me { id } }")


async def test_a_rejection_has_the_cost_and_the_limit(client: Client) -> None:
    """The refusal of a query that costs too much has its cost and the limit."""
    answer = await client.ask("{ products(limit: 100) { " + "availability { available } " * 5 + "} }")
    error = answer["errors"][0]
    assert error["message"] == "the query costs 5501; the limit is 5000"
    assert (error["extensions"]["found"], error["extensions"]["limit"]) == (5501, 5000)


@pytest.mark.parametrize("variables", [{"n": 100}, {"n": 100.0}, {}])
async def test_cost_counts_variables(client: Client, gateway: FakeGateway, variables: dict[str, Any]) -> None:
    """A page size in a variable costs its value, however it is written or left to its default."""
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


async def test_production_suggests_no_names(settings: Settings) -> None:
    """In production there is no introspection and no suggestion."""
    production = settings.model_copy(update={"env": "production"})
    async with run(production) as running, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{running.port}/graphql")
        for query in ("{ __schema { types { name } } }", '{ __type(name: "User") { name } }'):
            assert (await client.ask(query))["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert "Did you mean" not in str(await client.ask("{ me { ordrs { id } } }"))
        assert "errors" not in await client.ask("{ __typename me { id } }")


async def test_development_explores(client: Client) -> None:
    """In development tools get the schema, and a slip of the pen gets a suggestion."""
    answer = await client.ask("{ __schema { queryType { fields { name } } } }")
    assert {"name": "products"} in answer["data"]["__schema"]["queryType"]["fields"]
    assert "Did you mean 'orders'" in str(await client.ask("{ me { ordrs { id } } }"))
