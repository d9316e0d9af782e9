"""graphql_server on a free port before a fake gateway: a small working REST API that records its requests and their
callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from graphql_server.bootstrap import Settings, run

TIME = "2026-01-05T09:00:00Z"


@dataclass
class Call:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass
class FakeGateway:
    """`orders_each` orders of `items_each` items for each user; `broken` paths answer as told, `slow` ones never.

    The newest order's number is `newest`: lowered, there are newer ones. Products are numbered from 0; `gone` are not.
    """

    orders_each: int = 2
    items_each: int = 3
    newest: int = 0
    products: int = 1_000
    gone: set[str] = field(default_factory=lambda: {"gone"})
    tokens: dict[str, str] = field(default_factory=lambda: {"Bearer ada": "123", "Bearer bob": "456"})
    # Where set, an answer waits until so many requests are waiting for theirs.
    together: asyncio.Barrier | None = None
    broken: dict[str, web.Response] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        call = Call(request.method, request.path, request.query, request.headers, body)
        self.calls.append(call)
        if request.path in self.slow:
            await asyncio.Event().wait()
        if self.together is not None:
            await self.together.wait()
        if request.path in self.broken:
            return self.broken[request.path]
        caller = self.tokens.get(request.headers.get("Authorization", ""))
        if caller is None and not request.path.startswith(("/v1/products", "/v1/availability")):
            return problem(401, "UNAUTHENTICATED", "a valid access token is needed")
        return self.route(call, caller or "")

    def route(self, call: Call, caller: str) -> web.Response:  # noqa: PLR0911  # one for each route
        match call.method, call.path.split("/")[2:]:
            case "GET", ["users", "me"]:
                return web.json_response(user(caller))
            case "GET", ["users"]:
                return listed(user(each) for each in ids(call, "ids") if each == caller)
            case "GET", ["orders"] if "ids" in call.query:
                own = [each for each in ids(call, "ids") if each.startswith(f"{caller}-")]
                return listed(self.order(caller, int(each.removeprefix(f"{caller}-"))) for each in own)
            case "GET", ["orders"]:
                if caller not in ids(call, "user_id"):
                    return listed([])
                orders = range(self.newest, self.orders_each)
                return paged(call, orders, lambda number: self.order(caller, number))
            case "GET", ["products"] if "ids" in call.query:
                return listed(product(each) for each in ids(call, "ids") if each not in self.gone)
            case "GET", ["products"]:
                numbers = [number for number in range(self.products) if str(number) not in self.gone]
                return paged(call, numbers, lambda number: product(str(number)))
            case "GET", ["availability"]:
                return listed(availability(each) for each in ids(call, "product_ids") if each not in self.gone)
            case "GET", ["reports", "sales"]:
                row = {
                    "key": "42",
                    "name": "Product 42",
                    "currency": "EUR",
                    "orders": 2,
                    "quantity": 3,
                    "revenue": "36.00",
                }
                covered = {"since": TIME, "as_of": TIME, "gap_at": None, "unknown_orders": 0}
                return web.json_response({"by": call.query["by"], **covered, "items": [row], "next_cursor": None})
            case "POST", ["orders"]:
                key = call.headers.get("Idempotency-Key", "")
                replayed = {"Idempotency-Replayed": "true"} if key in self.keys else {}
                self.keys |= {key} - {""}
                return web.json_response(self.order(caller, 0), status=202, headers=replayed)
            case "POST", ["orders", _, "cancel"]:
                return web.json_response({**self.order(caller, 0), "status": "cancelled"}, status=202)
        return problem(404, "NOT_FOUND", "no such resource")

    def order(self, user_id: str, number: int) -> dict[str, Any]:
        first = number * self.items_each
        items = [
            {"product_id": str(first + each), "name": "then", "quantity": 2, "unit_price": "9.90"}
            for each in range(self.items_each)
        ]
        return {
            "id": f"{user_id}-{number}",
            "user_id": user_id,
            "status": "pending",
            "status_reason": None,
            "items": items,
            "total": "59.40",
            "currency": "EUR",
            "placed_at": TIME,
        }


def ids(call: Call, name: str) -> list[str]:
    found = call.query[name].split(",")
    assert len(found) <= 100
    return found


def listed(rows: Any) -> web.Response:
    return web.json_response({"items": list(rows), "next_cursor": None})


def paged(call: Call, numbers: Sequence[int], row: Callable[[int], Any]) -> web.Response:
    """A page in the manner of the REST API: a cursor says after which row the next one begins."""
    after = call.query.get("cursor")
    left = [number for number in numbers if after is None or number > int(after.removeprefix("after_"))]
    page = left[: int(call.query["limit"])]
    more = f"after_{page[-1]}" if len(page) < len(left) else None
    return web.json_response({"items": [row(number) for number in page], "next_cursor": more})


def user(user_id: str) -> dict[str, str]:
    return {"id": user_id, "name": f"User {user_id}", "email": f"{user_id}@shop.test", "role": "customer"}


def product(product_id: str) -> dict[str, str]:
    return {
        "id": product_id,
        "name": f"Product {product_id}",
        "description": "",
        "category": "books",
        "price": "12.00",
        "currency": "EUR",
        "image_url": f"/v1/files/product-{product_id}",
        "updated_at": TIME,
    }


def availability(product_id: str) -> dict[str, Any]:
    return {"product_id": product_id, "available": 7, "stale": True, "as_of": TIME}


def problem(status: int, code: str, detail: str, **more: Any) -> web.Response:
    body = {"type": "about:blank", "title": "", "status": status, "detail": detail, "code": code, **more}
    return web.json_response(body, status=status, content_type="application/problem+json")


@dataclass
class Client:
    """A GraphQL client; `status` and `headers` are those of the last answer."""

    session: aiohttp.ClientSession
    url: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    async def ask(
        self, query: str, *, token: str = "ada", headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        sent = {"Authorization": f"Bearer {token}", **(headers or {})} if token else headers
        return await self.send("POST", json={"query": query, **more}, headers=sent)

    async def send(self, method: str, **options: Any) -> Any:
        async with self.session.request(method, self.url, **options) as response:
            self.status, self.headers = response.status, response.headers
            return await response.json(content_type=None)


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    fake = FakeGateway()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
def settings(gateway: FakeGateway, tmp_path: Path) -> Settings:
    # A noisy machine is not what these tests are about.
    return Settings(gateway_url=gateway.url, graphql_port=0, otlp_url="", data_dir=tmp_path, graphql_budget=30)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with run(settings) as running, aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{running.port}/graphql")
