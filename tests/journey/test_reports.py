"""The dashboard: what is sold reaches the report, GraphQL, and every connected admin."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import websockets

from tests.shop import Shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = ("admin@shop.test", "admin")


async def report(shop: Shop, by: str = "day", *, key: str = "") -> dict[str, Any]:
    """Its row of today, of a product or of a customer; zeros while there is none."""
    answer = await shop.http.get("/v1/reports/sales", params={"by": by}, headers=await shop.bearer(*ADMIN))
    assert answer.status_code == 200, answer.text
    key = key or datetime.now(UTC).date().isoformat()
    nothing = {"orders": 0, "quantity": 0, "revenue": "0.00"}
    return next((row for row in answer.json()["items"] if row["key"] == key), nothing)


async def sold(shop: Shop, count: int, *, before: dict[str, Any]) -> dict[str, Any]:
    """Today's row once it has so many orders more."""

    async def counted() -> dict[str, Any] | None:
        now = await report(shop)
        return now if now["orders"] == before["orders"] + count else None

    return await eventually(counted, within=60)


@asynccontextmanager
async def watching(shop: Shop, account: tuple[str, str] = ADMIN) -> AsyncIterator[websockets.ClientConnection]:
    """A WebSocket client that has subscribed to reports."""
    url = shop.address("SHOP_NOTIFIER_URL").replace("http", "ws", 1)
    async with websockets.connect(f"{url}/notifications?token={await shop.token(*account)}", open_timeout=60) as socket:
        await socket.send(json.dumps({"action": "subscribe", "topics": ["report.*"]}))
        assert json.loads(await socket.recv())["type"] == "subscribed"
        yield socket


async def told(socket: websockets.ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(30):
        found: dict[str, Any] = json.loads(await socket.recv())
    assert found["type"] == "report.sales"
    return found


async def first_of_stream(shop: Shop, subscribed: asyncio.Event) -> dict[str, Any]:
    """The first event of an admin's event stream (SSE)."""
    url = shop.address("SHOP_NOTIFIER_URL") + "/notifications/stream"
    headers = await shop.bearer(*ADMIN)
    async with shop.http.stream("GET", url, params={"topics": "report.*"}, headers=headers) as stream:
        assert stream.status_code == 200
        subscribed.set()
        async for line in stream.aiter_lines():
            if line.startswith("data:") and '"report.sales"' in line:
                found: dict[str, Any] = json.loads(line.removeprefix("data:"))
                return found
    raise AssertionError("the stream has ended")


async def test_a_sale_reaches_the_dashboard(shop: Shop) -> None:
    """A paid order is in the day's, the product's and the customer's row, and both WebSocket and SSE send it."""
    before = {by: await report(shop, by, key=key) for by, key in (("day", ""), ("product", "42"), ("customer", "123"))}
    subscribed = asyncio.Event()
    async with watching(shop) as socket:
        stream = asyncio.create_task(first_of_stream(shop, subscribed))
        await subscribed.wait()
        assert (await shop.place(("42", 2))).status_code == 202
        day = await sold(shop, 1, before=before["day"])
        frame, streamed = await told(socket), await asyncio.wait_for(stream, 30)
    (latest,) = frame["data"]["days"]
    assert (latest["day"], latest["orders"]) == (day["key"], day["orders"])
    assert (latest["revenue"], latest["currency"]) == (day["revenue"], "EUR")
    assert streamed["data"] == frame["data"]
    for by, key in (("product", "42"), ("customer", "123")):
        row = await report(shop, by, key=key)
        assert row["orders"] == before[by]["orders"] + 1
        assert Decimal(row["revenue"]) - Decimal(before[by]["revenue"]) == Decimal("178.00")


async def test_graphql_has_the_same_report(shop: Shop) -> None:
    """`salesReport` answers an admin what the REST API does; a customer is refused."""
    query = {"query": "{ salesReport(by: product) { since unknownOrders items { key orders revenue currency } } }"}
    answer = await shop.http.post("/graphql", json=query, headers=await shop.bearer(*ADMIN))
    found = answer.json()["data"]["salesReport"]
    row = next(each for each in found["items"] if each["key"] == "42")
    same = await report(shop, "product", key="42")
    assert row == {name: same[name] for name in ("key", "orders", "revenue", "currency")}
    refused = (await shop.http.post("/graphql", json=query, headers=await shop.bearer())).json()
    assert refused["data"]["salesReport"] is None
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_many_sales_are_few_events_for_admins_alone(shop: Shop) -> None:
    """However many orders are paid at once, the dashboard gets at most one event a second; a customer gets none."""
    before = await report(shop)
    async with watching(shop) as socket, watching(shop, ("demo@shop.test", "demo")) as customer:
        answers = await asyncio.gather(*(shop.place(("42", 1)) for _ in range(12)))
        assert {answer.status_code for answer in answers} == {202}
        frames = [await told(socket)]
        while frames[-1]["data"]["days"][0]["orders"] < before["orders"] + 12:
            frames.append(await told(socket))
        await customer.send(json.dumps({"action": "ping"}))
        assert json.loads(await customer.recv())["type"] == "pong"
    times = [datetime.fromisoformat(frame["time"]) for frame in frames]
    assert all(later - earlier > timedelta(seconds=0.9) for earlier, later in pairwise(times))


async def test_a_rebuild_from_the_command_line(shop: Shop) -> None:
    """`shop reports rebuild` waits until the new figures are served: the same, and those of `shop reports sales`."""
    before = await report(shop)
    code, out = await command(shop, "rebuild")
    assert (code, "is complete: its figures are served" in out) == (0, True)
    assert await report(shop) == before
    code, out = await command(shop, "sales", "--by", "product", "--json")
    assert code == 0
    rows = {row["key"]: row for row in json.loads(out)["items"]}
    assert rows["42"] == await report(shop, "product", key="42")


async def command(shop: Shop, *arguments: str) -> tuple[int, str]:
    """Run `shop reports …`: exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", "reports", *arguments),
        env=shop.around.shared,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode()
