"""E5 in the shop: how late each of its ways sends a customer what happens to an order, and in how many bytes."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from bench.compare.adapters.port import Link
from bench.compare.bench import Bench
from bench.compare.experiments.shop.reads import port_of, sign_in
from bench.compare.measure.proxies import Proxy, proxy
from bench.compare.measure.together import together
from bench.compare.measure.workers import Worker, worker
from bench.shop import RunningShop

_SESSION = "bench.compare.news.shop_sessions:OrderWatcher"
_ORDER = {"items": [{"product_id": "42", "quantity": 1}]}
_STEPS = ("confirmed", "paid", "shipped")
_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class ShopWay:
    """A way to follow an order, and the process that serves it."""

    name: str
    title: str
    way: str
    process: str
    options: tuple[str, ...] = ()

    @property
    def periodic(self) -> bool:
        """Whether it requests again and again, even if nothing has happened."""
        return self.way == "polling" and "long" not in self.options


SHOP_WAYS: tuple[ShopWay, ...] = (
    ShopWay("shop-poll-0.1", "polling, 100 ms", "polling", "gateway", ("0.1",)),
    ShopWay("shop-poll-1", "polling, 1 s", "polling", "gateway", ("1",)),
    ShopWay("shop-conditional-1", "polling, 1 s, 304", "polling", "gateway", ("1", "conditional")),
    ShopWay("shop-long-poll", "long polling (Prefer: wait)", "polling", "gateway", ("long",)),
    ShopWay("shop-sse", "SSE", "sse", "notifier"),
    ShopWay("shop-websocket", "WebSocket", "websocket", "notifier"),
    ShopWay("shop-subscription", "GraphQL subscription", "subscription", "gateway"),
    ShopWay("shop-webhook", "webhook", "webhooks", "gateway"),
)
SHOP_NEWS_TITLES = {way.name: way.title for way in SHOP_WAYS}


async def run(bench: Bench) -> None:
    """All watchers follow the same orders at the same time, as the customer who places them."""
    shop = await bench.shop()
    token = await asyncio.to_thread(sign_in, shop)
    headers = {"Authorization": f"Bearer {token}"}
    bench.say(f"E5 shop: {bench.rounds} orders, {len(SHOP_WAYS)} watchers")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=shop.url("gateway"), headers=headers, trust_env=False, timeout=_WITHIN)
        )
        watching = await together(_begin(stack, shop, way, headers) for way in SHOP_WAYS)
        opening = [each.counted() for each in watching]
        for number in range(bench.rounds):
            before = [each.counted() for each in watching]
            order = await _placed(http)
            await together(each.watcher.call("follow", order=order) for each in watching)
            last, within = _STEPS[-1], _WITHIN
            seen = await together(
                each.watcher.call("seen", order=order, status=last, within=within) for each in watching
            )
            happened = await _happened(http, order)
            for each, known, bytes_before, opened in zip(watching, seen, before, opening, strict=True):
                row = {"round": number, "bytes": each.counted() - bytes_before, "opening_bytes": opened}
                late = {status: (known[status] - happened[status]) * 1e3 for status in _STEPS if status in known}
                names = {"experiment": "E5", "level": "shop", "variant": each.way.name, "kind": "order"}
                phase = {"phase": "random"} if each.way.periodic else {}
                bench.folder.add(names | row | phase | {"late_ms": late, "events": len(_STEPS), "seen": len(late)})
        await together(each.watcher.call("stop") for each in watching)


@dataclass(frozen=True, slots=True)
class _Watching:
    way: ShopWay
    watcher: Worker
    between: Proxy

    def counted(self) -> int:
        return self.between.up + self.between.down


async def _begin(stack: AsyncExitStack, shop: RunningShop, way: ShopWay, headers: dict[str, str]) -> _Watching:
    watcher = await stack.enter_async_context(worker(_SESSION))
    port = port_of(shop, way.process)
    between = await stack.enter_async_context(proxy(port))
    await watcher.call("begin", way=way.way, link=Link(between.port, way.options, headers, port))
    if way.way == "webhooks":
        between.target = await watcher.call("listening")
    return _Watching(way, watcher, between)


async def _placed(http: httpx.AsyncClient) -> str:
    answer = await http.post("/v1/orders", json=_ORDER, headers={"Idempotency-Key": uuid.uuid4().hex})
    return str(answer.raise_for_status().json()["id"])


async def _happened(http: httpx.AsyncClient, order: str) -> dict[str, float]:
    """Status -> the time of day at which the order got it, by the shop's own history."""
    history: list[dict[str, Any]] = (await http.get(f"/v1/orders/{order}/events")).raise_for_status().json()["items"]
    return {row["type"].partition(".")[2]: datetime.fromisoformat(row["time"]).timestamp() for row in history}
