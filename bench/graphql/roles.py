"""The servers of `bench.graphql`, each a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvloop

from bench.roles import say_until_closed
from chassis.clients.gateway import GatewayClient, gateway_client
from chassis.http.middleware import HttpBoundary, Receive, Scope, Send
from chassis.http.server import serve_http
from chassis.observability.telemetry import telemetry
from chassis.process import tune_garbage_collection
from graphql_server.bootstrap import Settings
from graphql_server.bootstrap import run as run_graphql

ORDERS, ITEMS = 20, 3
_TIME = "2026-01-05T09:00:00Z"
_SAMPLED = 0.1


@asynccontextmanager
async def gateway(_: str) -> AsyncIterator[int]:
    """A stub: answers the three calls with rows that it has in memory."""
    user = {"id": "123", "name": "Ada", "email": "ada@shop.test", "role": "customer"}
    bodies = {"/v1/users": _page([user]), "/v1/orders": _page([_order(number) for number in range(ORDERS)])}
    products: dict[bytes, bytes] = {}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        body = bodies.get(scope["path"]) or products.get(scope["query_string"])
        if body is None:
            wanted = parse_qs(scope["query_string"].decode())["ids"][0].split(",")
            body = products[scope["query_string"]] = _page([_product(each) for each in wanted])
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with serve_http(app, host="127.0.0.1", port=0) as port:
        yield port


@asynccontextmanager
async def graphql(gateway_url: str) -> AsyncIterator[int]:
    """graphql_server as it is."""
    settings = Settings(gateway_url=gateway_url, graphql_port=0, otlp_url="", trace_sample_ratio=_SAMPLED)
    async with run_graphql(settings) as running:
        yield running.port


@asynccontextmanager
async def by_hand(gateway_url: str) -> AsyncIterator[int]:
    """The floor: the same boundary and the same client, and for this one answer nothing but loops."""
    async with (
        telemetry("by_hand", "", sample_ratio=_SAMPLED) as spans,
        gateway_client(gateway_url, spans, budget=1.8) as client,
    ):

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            message = await receive()
            if orjson.loads(message["body"])["query"]:
                headers = {"Authorization": dict(scope["headers"])[b"authorization"].decode()}
                body = orjson.dumps({"data": await _answer(client, headers)})
            raw = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            await send({"type": "http.response.body", "body": body})

        boundary = HttpBoundary(app, spans, protocol_of=lambda _: "GraphQL", budget=1.8)
        async with serve_http(boundary, host="127.0.0.1", port=0) as port:
            yield port


async def _answer(client: GatewayClient, headers: dict[str, str]) -> dict[str, Any]:
    caller = client.on_behalf_of(headers, counted=True)
    user = (await caller.get("/v1/users", ids="123"))["items"][0]
    orders = (await caller.get("/v1/orders", user_id=user["id"], limit=ORDERS))["items"]
    ids = dict.fromkeys(item["product_id"] for order in orders for item in order["items"])
    rows = (await caller.get("/v1/products", ids=",".join(ids)))["items"]
    products = {row["id"]: {"name": row["name"], "price": row["price"]} for row in rows}
    shown = [
        {
            "id": order["id"],
            "total": order["total"],
            "items": [{"product": products.get(item["product_id"])} for item in order["items"]],
        }
        for order in orders
    ]
    return {"user": {"name": user["name"], "email": user["email"], "orders": shown}}


def _page(rows: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"items": rows, "next_cursor": None})


def _order(number: int) -> dict[str, Any]:
    items = [
        {"product_id": str(number * ITEMS + each), "name": "as ordered", "quantity": 2, "unit_price": "9.90"}
        for each in range(ITEMS)
    ]
    return {
        "id": f"order-{number}",
        "user_id": "123",
        "status": "paid",
        "status_reason": None,
        "items": items,
        "total": "59.40",
        "currency": "EUR",
        "placed_at": _TIME,
    }


def _product(product_id: str) -> dict[str, Any]:
    return {
        "id": product_id,
        "name": f"Product {product_id}",
        "description": "Words that nobody asked for, as a product has them.",
        "category": "books",
        "price": "12.00",
        "currency": "EUR",
        "image_url": f"/v1/files/product-{product_id}",
        "updated_at": _TIME,
    }


async def _serve(role: str, gateway_url: str) -> None:
    async with {"gateway": gateway, "graphql": graphql, "by_hand": by_hand}[role](gateway_url) as port:
        tune_garbage_collection()
        await say_until_closed(port)


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
