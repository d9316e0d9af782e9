"""E8 in the shop: an order whose answer was lost is sent again, and how many orders there are then."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc.aio
import httpx

from bench.compare import tls
from bench.compare.bench import Bench
from bench.compare.experiments.shop.reads import port_of, sign_in
from bench.compare.measure.proxies import proxy
from bench.compare.measure.sessions import named
from protos.shop.orders.v1.orders_pb2 import NewItem, PlaceOrderRequest
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub

_PLACE = "mutation ($input: PlaceOrderInput!) { placeOrder(input: $input) { id } }"
_TIMEOUT = 20.0
_LISTED, _POLL = 100, 0.02

Headers = dict[str, str]
Ready = Callable[[], Awaitable[None]]
# Place an order through this port, under this idempotency key or none: does the answer call it a repetition? Calls
# `Ready` when only the request is missing. Raises whatever the library does where the answer is lost.
Place = Callable[[int, Headers, str, Ready], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to place an order; `where` is the process, or the setting of its port."""

    title: str
    where: str
    place: Place
    keyed: bool


async def _by_rest(port: int, headers: Headers, key: str, ready: Ready) -> bool:
    more = {"Idempotency-Key": key} if key else {}
    order = {"items": [{"product_id": "42", "quantity": 1}]}
    answer = await _posted(port, "/v1/orders", order, headers | more, ready)
    return bool(answer.headers.get("Idempotency-Replayed") == "true")


async def _by_graphql(port: int, headers: Headers, key: str, ready: Ready) -> bool:
    order = {"items": [{"productId": "42", "quantity": 1}], **({"idempotencyKey": key} if key else {})}
    answer = await _posted(port, "/graphql", {"query": _PLACE, "variables": {"input": order}}, headers, ready)
    body = answer.json()
    if body.get("errors"):
        raise RuntimeError(f"the mutation failed: {body['errors']}")
    return "placeOrder" in body.get("extensions", {}).get("idempotencyReplayed", ())


async def _by_grpc(port: int, headers: Headers, key: str, ready: Ready) -> bool:
    request = PlaceOrderRequest(items=[NewItem(product_id="42", quantity=1)], idempotency_key=key)
    metadata = tuple((name.lower(), value) for name, value in headers.items())
    async with tls.channel(port, ()) as channel:
        await channel.channel_ready()
        await ready()
        placed = await OrderServiceStub(channel).PlaceOrder(request, metadata=metadata, timeout=_TIMEOUT)
    return bool(placed.replayed)


async def _posted(port: int, path: str, body: dict[str, Any], headers: Headers, ready: Ready) -> httpx.Response:
    await ready()
    async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT) as http:
        answer = await http.post(f"http://127.0.0.1:{port}{path}", json=body, headers=headers)
    return answer.raise_for_status()


_PLACES: dict[str, tuple[str, str, Place]] = {
    "rest": ("REST", "gateway", _by_rest),
    "graphql": ("GraphQL", "gateway", _by_graphql),
    "grpc": ("gRPC to orders", "SHOP_ORDERS_PORT", _by_grpc),
}
WAYS: dict[str, Way] = {
    f"order-{name}-{'key' if keyed else 'no-key'}": Way(
        f"{title}, {'with an idempotency key' if keyed else 'without a key'}", where, place, keyed
    )
    for name, (title, where, place) in _PLACES.items()
    for keyed in (True, False)
}


async def run(bench: Bench) -> None:
    """Each way once: these are counts, which do not differ from round to round. One after the other, to be counted."""
    shop = await bench.shop()
    headers = {"Authorization": f"Bearer {await asyncio.to_thread(sign_in, shop)}"}
    bench.say(f"E8 shop: {len(WAYS)} orders whose answer is lost")
    async with httpx.AsyncClient(
        base_url=shop.url("gateway"), headers=headers, trust_env=False, timeout=_TIMEOUT
    ) as http:
        for name, way in WAYS.items():
            before = await _orders(http)
            port, key = port_of(shop, way.where), uuid.uuid4().hex if way.keyed else ""
            error = await _lost(way.place, port, headers, key, partial(_new_orders, http, before))
            replayed = await way.place(port, headers, key, _at_once)
            after = len(await _orders(http) - before)
            names = {"experiment": "E8", "level": "shop", "variant": name, "kind": "sent again", "identity": "token"}
            bench.folder.add({**names, "error": error, "orders": after, "replayed": replayed})


async def _lost(place: Place, port: int, headers: Headers, key: str, stored: Callable[[], Awaitable[None]]) -> str:
    """Place an order, and cut the connection when it is `stored` and nothing of its answer has arrived.

    Returns what the library raises. Raises `RuntimeError` when it raises nothing, and `TimeoutError`.
    """
    async with proxy(port) as way:

        async def silence() -> None:
            await way.settled()
            way.stalled = True

        placing = asyncio.create_task(place(way.port, headers, key, silence))
        try:
            async with asyncio.timeout(_TIMEOUT):
                await stored()
        except BaseException:
            placing.cancel()
            raise
        way.cut()
        try:
            await placing
        except (httpx.TransportError, grpc.aio.AioRpcError) as error:
            return named(error)
    raise RuntimeError("the order was answered, though its connection was cut")


async def _at_once() -> None:
    """Nothing to do before the request."""


async def _new_orders(http: httpx.AsyncClient, before: set[str]) -> None:
    """Wait until the customer has an order more."""
    while not await _orders(http) - before:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(_POLL)


async def _orders(http: httpx.AsyncClient) -> set[str]:
    """The ids of the customer's latest orders."""
    answer = await http.get("/v1/orders", params={"limit": _LISTED})
    return {str(order["id"]) for order in answer.raise_for_status().json()["items"]}
