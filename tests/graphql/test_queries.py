"""What the graph answers, and what that costs the gateway."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import jwt
import pytest
from aiohttp import web

from graphql_server.bootstrap import Settings, run
from graphql_server.row_executor import RowExecutor
from tests.graphql.conftest import Client, FakeGateway, listed, problem
from tests.services.conftest import fake_users
from tests.shop import free_ports
from tests.waiting import eventually

ARTICLE = 'query { user(id: "123") { name email orders { id total items { product { name price } } } } }'


async def test_the_articles_query(client: Client, gateway: FakeGateway) -> None:
    """The articles' query works verbatim."""
    answer = await client.ask(ARTICLE)
    assert "errors" not in answer
    user = answer["data"]["user"]
    assert (user["name"], user["email"]) == ("User 123", "123@shop.test")
    assert [order["id"] for order in user["orders"]] == ["123-0", "123-1"]
    assert user["orders"][1]["total"] == "59.40"
    assert user["orders"][1]["items"][2]["product"] == {"name": "Product 5", "price": "12.00"}
    assert gateway.calls[1].query["limit"] == "20"


async def test_one_call_for_each_level(client: Client, gateway: FakeGateway) -> None:
    """A hundred orders with a hundred products cost one call for each level of the query."""
    gateway.orders_each, gateway.items_each = 100, 1
    answer = await client.ask("{ me { orders(limit: 100) { items { product { name } } } } }")
    names = {item["product"]["name"] for order in answer["data"]["me"]["orders"] for item in order["items"]}
    assert len(names) == 100
    assert gateway.paths() == ["/v1/users/me", "/v1/orders", "/v1/products"]


async def test_availability_of_a_hundred_orders(settings: Settings, gateway: FakeGateway) -> None:
    """How much there is of a hundred orders' products costs one call more, however many products there are."""
    gateway.orders_each, gateway.items_each = 100, 1
    gateway.gone = {"99"}
    query = "{ me { orders(limit: 100) { items { product { id availability { available stale asOf } } } } } }"
    generous = settings.model_copy(update={"graphql_max_cost": 10_000})
    async with run(generous) as running, aiohttp.ClientSession() as session:
        answer = await Client(session, f"http://127.0.0.1:{running.port}/graphql").ask(query)
    products = [item["product"] for order in answer["data"]["me"]["orders"] for item in order["items"]]
    assert sum(product is None for product in products) == 1
    assert {product["availability"]["available"] for product in products if product} == {7}
    assert gateway.paths() == ["/v1/users/me", "/v1/orders", "/v1/products", "/v1/availability"]


async def test_aliases_may_be_any_names(client: Client) -> None:
    """Those of the code that serializes rows, and Python's own, are as good as others, and keep their order."""
    answer = await client.ask(
        '{ user(id: "123") { row: name leaf_0: email str: __typename Extraordinary: id '
        "show_0: orders { def: total leaf_0: id joined_0: items "
        "{ None: quantity below_0: product { return: name } } } } }"
    )
    user = answer["data"]["user"]
    assert list(user) == ["row", "leaf_0", "str", "Extraordinary", "show_0"]
    assert [user[name] for name in ("row", "leaf_0", "str", "Extraordinary")] == [
        "User 123",
        "123@shop.test",
        "User",
        "123",
    ]
    assert [list(order) for order in user["show_0"]] == [["def", "leaf_0", "joined_0"]] * 2
    assert user["show_0"][1]["leaf_0"] == "123-1"
    assert user["show_0"][1]["joined_0"][2] == {"None": 2, "below_0": {"return": "Product 5"}}


async def test_many_ids_are_asked_in_chunks(client: Client, gateway: FakeGateway) -> None:
    """More ids than the gateway takes at once are fetched in several calls, each id once."""
    gateway.orders_each, gateway.items_each = 100, 3
    await client.ask("{ me { orders(limit: 100) { items { product { id } } } } }")
    asked = [each for call in gateway.calls if call.path == "/v1/products" for each in call.query["ids"].split(",")]
    assert len(asked) == len(set(asked)) == 300
    assert gateway.paths().count("/v1/products") == 3


async def test_aliases_share_a_call(client: Client, gateway: FakeGateway) -> None:
    """Fields of one kind side by side are fetched in one call."""
    answer = await client.ask(
        '{ a: product(id: "1") { name } b: product(id: "2") { name } c: product(id: "gone") { id } }'
    )
    assert answer["data"] == {"a": {"name": "Product 1"}, "b": {"name": "Product 2"}, "c": None}
    assert [call.query["ids"] for call in gateway.calls] == ["1,2,gone"]


async def test_other_fields(client: Client, gateway: FakeGateway) -> None:
    """Every field of an order, a product and its availability has its camelCase name."""
    order = """{ order(id: "123-0") { id userId status statusReason total currency placedAt
                 items { productId name quantity unitPrice } } }"""
    assert (await client.ask(order))["data"]["order"] == {
        "id": "123-0",
        "userId": "123",
        "status": "pending",
        "statusReason": None,
        "total": "59.40",
        "currency": "EUR",
        "placedAt": "2026-01-05T09:00:00Z",
        "items": [
            {"productId": str(each), "name": "then", "quantity": 2, "unitPrice": "9.90"}
            for each in range(gateway.items_each)
        ],
    }
    products = """{ products(category: "books", q: "wire & tap", limit: 2) {
                    id description imageUrl updatedAt availability { available stale asOf } } }"""
    answer = await client.ask(products, token="")
    assert [each["id"] for each in answer["data"]["products"]] == ["0", "1"]
    assert answer["data"]["products"][0]["availability"] == {
        "available": 7,
        "stale": True,
        "asOf": "2026-01-05T09:00:00Z",
    }
    assert dict(gateway.calls[1].query) == {"category": "books", "q": "wire & tap", "limit": "2"}


async def test_what_is_not_there(client: Client, gateway: FakeGateway) -> None:
    """Unknown things, foreign ones and ids that nothing can have are null, and spoil nothing beside them."""
    foreign = 'user(id: "456") { id } order(id: "999-1") { id }'
    answer = await client.ask(f'{{ {foreign} x: product(id: "a,b?/..") {{ id }} y: product(id: "1") {{ id }} }}')
    assert answer["data"] == {"user": None, "order": None, "x": None, "y": {"id": "1"}}
    assert "errors" not in answer
    assert (await client.ask('{ order(id: "..") { id } }'))["data"] == {"order": None}
    assert all(".." not in path for path in gateway.paths())


async def test_mutations(client: Client, gateway: FakeGateway) -> None:
    """Orders are placed and cancelled through the gateway, with the client's idempotency key."""
    place = "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) { id status } }"
    given = {"items": [{"productId": "42", "quantity": 2}], "idempotencyKey": "k-1"}
    answer = await client.ask(place, variables={"input": given})
    assert answer["data"]["placeOrder"] == {"id": "123-0", "status": "pending"}
    assert gateway.calls[0].body == {"items": [{"product_id": "42", "quantity": 2}]}
    assert gateway.calls[0].headers["Idempotency-Key"] == "k-1"
    assert "extensions" not in answer
    answer = await client.ask('mutation { cancelOrder(id: "123-0") { status } }')
    assert answer["data"]["cancelOrder"] == {"status": "cancelled"}
    assert gateway.calls[1].path == "/v1/orders/123-0/cancel"


async def test_repeated_key_is_told(client: Client, gateway: FakeGateway) -> None:
    """A mutation that placed nothing, since its key was known, is named in the response's extensions."""
    again, new = [
        f'placeOrder(input: {{items: [{{productId: "42", quantity: 2}}], idempotencyKey: "{k}"}})' for k in "ab"
    ]
    await client.ask(f"mutation {{ {again} {{ id }} }}")
    answer = await client.ask(f"mutation {{ first: {again} {{ id }} second: {new} {{ id }} }}")
    assert answer["extensions"] == {"idempotencyReplayed": ["first"]}


async def test_orders_by_id_are_one_call(client: Client, gateway: FakeGateway) -> None:
    """However many orders a query names by their ids, the gateway is called once."""
    aliases = " ".join(f'o{number}: order(id: "123-{number}") {{ id }}' for number in range(12))
    answer = await client.ask(f"{{ {aliases} }}")
    assert answer["data"] == {f"o{number}": {"id": f"123-{number}"} for number in range(12)}
    assert gateway.paths() == ["/v1/orders"]


async def test_bad_idempotency_key(client: Client, gateway: FakeGateway) -> None:
    """A key that could smuggle something into the header is refused."""
    mutation = 'mutation { placeOrder(input: {items: [], idempotencyKey: "a\\r\\nX-Evil: 1"}) { id } }'
    assert (await client.ask(mutation))["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    assert gateway.calls == []


async def test_rejected_fields_have_the_schemas_names(client: Client, gateway: FakeGateway) -> None:
    """What the REST API rejects by its own names is named as the schema does: in camelCase."""
    fields = ["items[0].product_id", "items[0].quantity", "Idempotency-Key"]
    errors = [{"field": field, "detail": "is wrong"} for field in fields]
    body = {"code": "INVALID_INPUT", "detail": "the order cannot be accepted", "errors": errors}
    gateway.broken["/v1/orders"] = web.json_response(body, status=422)
    answer = await client.ask(
        'mutation { placeOrder(input: {items: [{productId: "x", quantity: 1}], idempotencyKey: "k"}) { id } }'
    )
    shown = answer["errors"][0]["extensions"]["errors"]
    assert [each["field"] for each in shown] == ["items[0].productId", "items[0].quantity", "idempotencyKey"]


async def test_callers_are_kept_apart(client: Client) -> None:
    """Of many requests of two users at once, each sees its own user's things and no others."""

    async def whose(token: str) -> set[str]:
        answer = await client.ask("{ me { id orders { userId } } }", token=token)
        me = answer["data"]["me"]
        return {me["id"], *(order["userId"] for order in me["orders"])}

    found = await asyncio.gather(*(whose(token) for token in ["ada", "bob"] * 20))
    assert found == [{"123"}, {"456"}] * 20


async def test_loaders_are_never_shared(client: Client, gateway: FakeGateway) -> None:
    """Two users' requests that ask the same at the very same time are two requests upstream, each as its own user."""
    gateway.together = asyncio.Barrier(2)
    query = '{ a: user(id: "123") { id orders { id } } b: user(id: "456") { id orders { id } } }'
    ada, bob = await asyncio.gather(client.ask(query, token="ada"), client.ask(query, token="bob"))
    assert ada["data"] == {"a": {"id": "123", "orders": [{"id": "123-0"}, {"id": "123-1"}]}, "b": None}
    assert bob["data"] == {"a": None, "b": {"id": "456", "orders": [{"id": "456-0"}, {"id": "456-1"}]}}
    asked = [(call.path, dict(call.query), call.headers["Authorization"]) for call in gateway.calls]
    for token, user_id in (("Bearer ada", "123"), ("Bearer bob", "456")):
        assert ("/v1/users", {"ids": "123,456"}, token) in asked
        assert ("/v1/orders", {"user_id": user_id, "limit": "20"}, token) in asked
    assert len(asked) == 4


async def test_shapes(client: Client) -> None:
    """Fragments, aliases, directives and __typename give what the specification says, in the order of the query."""
    query = """
        query ($with: Boolean!) {
          me { orders(limit: 1) {
            __typename total ...more no: status @skip(if: $with) items { n: name ...item } id } } }
        fragment more on Order { items { quantity } userId @include(if: $with) }
        fragment item on OrderItem { product { ... on Product { id } __typename } }"""
    item = {"quantity": 2, "n": "then", "product": {"id": "0", "__typename": "Product"}}
    for directives in (True, False):
        text = query if directives else query.replace("@skip(if: $with)", "").replace("@include(if: $with)", "")
        text = text if directives else text.replace("($with: Boolean!)", "")
        order = (await client.ask(text, variables={"with": True}))["data"]["me"]["orders"][0]
        assert order["items"][0] == item
        assert list(order) == ["__typename", "total", "items", "userId", *([] if directives else ["no"]), "id"]


@pytest.mark.parametrize(
    "query",
    [
        ARTICLE,
        "{ me { id __typename orders(limit: 1) { id status statusReason items { quantity product { id } } } } }",
        """{ me { a: orders(limit: 1) { id } b: orders { items { p: product { ...f } q: product { name ...f } } } } }
           fragment f on Product { id availability { available stale } }""",
        "{ me { ordersConnection(first: 1) { pageInfo { endCursor hasNextPage } edges { node { id } cursor } } } }",
        "{ me { orders(limit: 0) { id } } }",
        '{ product(id: "gone") { id } order(id: "123-1") { items { product { availability { asOf } } } } }',
        "{ __schema { types { name fields { name type { name } } } } }",
        "mutation { placeOrder(input: {items: []}) { id items { product { name } } } }",
    ],
)
async def test_plans_change_nothing(client: Client, gateway: FakeGateway, query: str) -> None:
    """The answer, its order included, and the calls upstream are the same with and without a plan for the rows."""
    gateway.gone = {"gone", "1"}
    planned = await client.send("POST", json={"query": query}, headers={"Authorization": "Bearer ada"})
    calls = sorted((call.path, sorted(call.query.items())) for call in gateway.calls)
    gateway.calls.clear()
    # An at-sign, be it in a comment, might be a directive, and with those there is no plan.
    by_the_rules = await client.send("POST", json={"query": query + " # @"}, headers={"Authorization": "Bearer ada"})
    for answer in (planned, by_the_rules):
        for error in answer.get("errors", ()):
            del error["extensions"]["trace_id"]
    assert json.dumps(planned) == json.dumps(by_the_rules)
    assert sorted((call.path, sorted(call.query.items())) for call in gateway.calls) == calls


async def test_wrong_values(client: Client, gateway: FakeGateway) -> None:
    """A value that is missing where there must be one, or is none of its type, is an error with its path."""
    good = gateway.order("123", 0)
    bad = {**good, "id": "bad", "items": [{**good["items"][0], "quantity": 2**40}]}
    gateway.broken["/v1/orders"] = listed([good, {**bad, "status": "lost"}])
    answer = await client.ask("{ me { name orders { id status } } }")
    assert answer["data"] == {"me": {"name": "User 123", "orders": None}}
    assert [error["path"] for error in answer["errors"]] == [["me", "orders", 1, "status"]]
    assert (answer["errors"][0]["message"], answer["errors"][0]["extensions"]["code"]) == ("internal error", "INTERNAL")
    gateway.broken["/v1/orders"] = listed([good, bad])
    answer = await client.ask("{ me { orders { items { quantity } } } }")
    assert [error["path"] for error in answer["errors"]] == [["me", "orders", 1, "items", 0, "quantity"]]


async def test_own_identity(settings: Settings, gateway: FakeGateway) -> None:
    """Calls upstream carry this process's own token beside the caller's, and do without it while users is away."""
    with_secret = {"service_secret": "s3cret", "users_address": f"127.0.0.1:{free_ports(1)[0]}"}
    async with run(settings.model_copy(update=with_secret)) as running, aiohttp.ClientSession() as session:
        client = Client(session, f"http://127.0.0.1:{running.port}/graphql")
        assert "errors" not in await client.ask("{ me { id } }")
        assert "X-Shop-Service" not in gateway.calls[-1].headers
        async with fake_users(int(with_secret["users_address"].rpartition(":")[2])):

            async def shown() -> str:
                await client.ask("{ me { id } }")
                return gateway.calls[-1].headers.get("X-Shop-Service", "")

            token = await eventually(shown, within=60)
    assert jwt.decode(token.removeprefix("Bearer "), options={"verify_signature": False})["sub"] == "graphql_server"
    assert gateway.calls[-1].headers["Authorization"] == "Bearer ada"


async def test_what_travels_along(client: Client, gateway: FakeGateway) -> None:
    """Every call to the gateway carries the caller's token, request id, trace and what is left of the time."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Request-ID": "r-1", "X-Timeout-Ms": "700"}
    await client.ask("{ me { orders { id } } }", headers=headers)
    assert trace in client.headers["traceparent"]
    for call in gateway.calls:
        assert call.headers["Authorization"] == "Bearer ada"
        assert call.headers["X-Request-ID"] == "r-1"
        assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", call.headers["traceparent"])
        assert 0 < int(call.headers["X-Timeout-Ms"]) <= 700
    await client.ask("{ products { id } }", token="")
    assert "Authorization" not in gateway.calls[-1].headers


async def test_partial_answer(client: Client, gateway: FakeGateway) -> None:
    """When one part of the shop is away, the rest is answered, and each gap has an error with path, code and trace."""
    away = problem(503, "UPSTREAM_UNAVAILABLE", "catalog cannot be reached")
    away.headers["Retry-After"] = "3"
    gateway.broken["/v1/products"] = away
    answer = await client.ask('{ user(id: "123") { name orders(limit: 1) { id items { product { name } } } } }')
    order = answer["data"]["user"]["orders"][0]
    assert order == {"id": "123-0", "items": [{"product": None}] * 3}
    error = answer["errors"][2]
    assert error["path"] == ["user", "orders", 0, "items", 2, "product"]
    assert error["message"] == "catalog cannot be reached"
    assert (error["extensions"]["code"], error["extensions"]["retry_after"]) == ("UPSTREAM_UNAVAILABLE", 3)
    assert error["extensions"]["trace_id"] in client.headers["traceparent"]


async def test_slow_part(client: Client, gateway: FakeGateway) -> None:
    """What takes longer than the time that is left is given up, and the rest is answered."""
    gateway.slow.add("/v1/orders")
    answer = await client.ask("{ me { name orders { id } } }", headers={"X-Timeout-Ms": "300"})
    assert answer["data"] == {"me": {"name": "User 123", "orders": None}}
    assert answer["errors"][0]["extensions"]["code"] == "DEADLINE_EXCEEDED"


async def test_refusals_keep_their_words(client: Client, gateway: FakeGateway) -> None:
    """A gateway's refusal is passed on with its code, its words and the fields at fault."""
    fields = [{"field": "items[0].quantity", "detail": "must be at least 1"}]
    gateway.broken["/v1/orders"] = problem(422, "INVALID_INPUT", "no such order", errors=fields)
    answer = await client.ask('mutation { placeOrder(input: {items: [{productId: "1", quantity: 0}]}) { id } }')
    assert answer["data"] == {"placeOrder": None}
    assert answer["errors"][0]["message"] == "no such order"
    assert answer["errors"][0]["extensions"]["errors"] == fields
    answer = await client.ask("{ me { id } }", token="")
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_masked_errors(client: Client, gateway: FakeGateway) -> None:
    """Of an unexpected error, a client learns the trace id and nothing else."""
    gateway.broken["/v1/users/me"] = web.Response(status=500, text="Traceback: secret.py, line 1")
    gateway.broken["/v1/products"] = web.json_response({"secret": "not what was agreed"})
    answer = await client.ask("{ me { id } products { id } }")
    assert answer["data"] == {"me": None, "products": None}
    for error in answer["errors"]:
        assert error["message"] == "internal error"
        assert error["extensions"]["code"] == "INTERNAL"
        assert error["extensions"]["trace_id"] in client.headers["traceparent"]
    assert "secret" not in str(answer)


async def test_unforeseen_failure(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of the execution itself is a 500 with the trace id and nothing else, over HTTP."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(RowExecutor, "build", fail)
    answer = await client.ask("{ me { id } }")
    assert client.status == 500
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["INTERNAL"]
    assert answer["errors"][0]["extensions"]["trace_id"] in client.headers["traceparent"]
    assert "secret" not in str(answer)


async def test_the_sales_report(client: Client, gateway: FakeGateway) -> None:
    """The report is the gateway's, asked with the same days and grouping."""
    query = """{ salesReport(from: "2026-01-01", to: "2026-01-31", by: product) {
        by since gapAt unknownOrders items { key name orders quantity revenue currency } nextCursor } }"""
    answer = await client.ask(query)
    assert "errors" not in answer
    assert answer["data"]["salesReport"] == {
        "by": "product",
        "since": "2026-01-05T09:00:00Z",
        "gapAt": None,
        "unknownOrders": 0,
        "items": [
            {"key": "42", "name": "Product 42", "orders": 2, "quantity": 3, "revenue": "36.00", "currency": "EUR"}
        ],
        "nextCursor": None,
    }
    assert dict(gateway.calls[-1].query) == {"from": "2026-01-01", "to": "2026-01-31", "by": "product", "limit": "100"}
