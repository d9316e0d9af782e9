"""The load of `bench.orders`: orders placed in an open or a closed loop, and what became of each by its own history."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import aiohttp

from bench.roles import cpu_seconds
from bench.shop import RunningShop
from bench.stock import count_in, stay_signed_in, token_of
from shop import sign_in

# All but the scarce one of the demo's articles; every order has two lines.
PRODUCTS = [str(number) for number in (*range(1, 7), *range(8, 23), 42, 123)]
CONNECTIONS = 16
DRAIN_SECONDS = 600.0
_READERS = 8
_LAST = 20
_POLL_SECONDS = 0.25


@dataclass(slots=True)
class Placed:
    """An order; moments are wall-clock seconds. `paid` and `shipped` are its history's own times."""

    intended: float
    accepted: float
    id: str
    paid: float = 0.0
    shipped: float = 0.0


@dataclass
class Run:
    """One stretch of load. `cpu` is processor seconds by process from its beginning until its last order shipped."""

    seconds: float
    orders: list[Placed] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    began: float = 0.0
    drained: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Rates within the stretch, latencies in milliseconds from the intended start.

        `drained_s`: from the end of the stretch until its last order was shipped.
        """
        until = self.began + self.seconds
        if not self.orders:
            raise RuntimeError(f"no order was accepted: {dict(self.refused)}")
        accepted = [1000 * (each.accepted - each.intended) for each in self.orders]
        shipped = [1000 * (each.shipped - each.intended) for each in self.orders]
        paid = [1000 * (each.shipped - each.paid) for each in self.orders]
        return {
            "orders": len(self.orders),
            "refused": self.refused.total(),
            "accepted_per_s": sum(each.accepted <= until for each in self.orders) / self.seconds,
            "shipped_per_s": sum(each.shipped <= until for each in self.orders) / self.seconds,
            "until_all_shipped_per_s": len(self.orders) / (self.drained - self.began),
            "drained_s": self.drained - until,
            **percentiles("accepted", accepted),
            **percentiles("accepted_to_shipped", shipped),
            **percentiles("paid_to_shipped", paid),
            "cpu_ms": sum(self.cpu.values()) * 1000 / len(self.orders),
        }

    def cpu_ms(self) -> dict[str, float]:
        """Processor time of an order by process, in milliseconds, the largest first."""
        each = {name: seconds * 1000 / len(self.orders) for name, seconds in self.cpu.items()}
        return dict(sorted(each.items(), key=lambda item: -item[1]))


def percentiles(name: str, values: list[float]) -> dict[str, float]:
    """p50 and p99 by name."""
    ordered = sorted(values)
    return {f"{name}_p{part}_ms": ordered[int(part / 100 * (len(ordered) - 1))] for part in (50, 99)}


class Customer:
    """Places orders at one shop and reads what became of them."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def place(self, run: Run, intended: float, number: int) -> None:
        items = [{"product_id": PRODUCTS[(number + step) % len(PRODUCTS)], "quantity": 1} for step in (0, 7)]
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        async with self._http.post("/v1/orders", json={"items": items}, headers=headers) as response:
            content = await response.read()
        if response.status == 202:
            run.orders.append(Placed(intended, time.time(), str(json.loads(content)["id"])))
        else:
            run.refused[f"{response.status} {content[:80]!r}"] += 1

    async def read(self, path: str, intended: float) -> float:
        """Seconds from the intended start until the whole answer was there."""
        async with self._http.get(path) as response:
            response.raise_for_status()
            await response.read()
        return time.time() - intended

    async def history(self, order: Placed) -> bool:
        """Read an order's history; whether it has been shipped."""
        async with self._http.get(f"/v1/orders/{order.id}/events") as response:
            response.raise_for_status()
            events = (await response.json())["items"]
        at = {event["type"]: datetime.fromisoformat(event["time"]).timestamp() for event in events}
        if ended := at.keys() & {"order.rejected", "order.cancelled"}:
            raise RuntimeError(f"{ended.pop()} ({order.id}): every order of the benchmark should ship")
        order.paid, order.shipped = at.get("order.paid", 0.0), at.get("order.shipped", 0.0)
        return bool(order.shipped)

    async def wait_until_shipped(self, orders: Sequence[Placed]) -> None:
        """One order at a time, the newest first: a look at each that waits would be a load of its own."""
        deadline = time.monotonic() + DRAIN_SECONDS
        for order in reversed(orders):
            while not await self.history(order):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"order {order.id} was not shipped within {DRAIN_SECONDS:.0f} s")
                await asyncio.sleep(_POLL_SECONDS)

    async def read_all(self, orders: Sequence[Placed]) -> None:
        parts = (orders[number::_READERS] for number in range(_READERS))
        await asyncio.gather(*(self.wait_until_shipped(part) for part in parts))


async def closed(customer: Customer, run: Run, connections: int) -> None:
    """Each connection places its next order when the last one was accepted."""
    until = run.began + run.seconds

    async def one(first: int) -> None:
        number = first
        while (now := time.time()) < until:
            await customer.place(run, now, number)
            number += connections

    await asyncio.gather(*map(one, range(connections)))


async def placed(customer: Customer, run: Run, orders: int, connections: int) -> None:
    """Place so many orders; each connection places its next one when the last was accepted."""

    async def one(first: int) -> None:
        for number in range(first, orders, connections):
            await customer.place(run, time.time(), number)

    await asyncio.gather(*map(one, range(connections)))


async def opened(customer: Customer, run: Run, rate: float) -> None:
    """Place `rate` orders a second, without a wait for earlier ones; an order's start is when it should have been."""
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * run.seconds)):
            intended = run.began + number / rate
            await asyncio.sleep(max(0.0, intended - time.time()))
            group.create_task(customer.place(run, intended, number))


@asynccontextmanager
async def customer_of(shop: RunningShop) -> AsyncIterator[Customer]:
    """The demo customer, signed in, at a shop that has plenty of everything."""
    token = await token_of(shop.url("gateway"), sign_in.CUSTOMER)
    await count_in(shop.address("SHOP_INVENTORY_PORT"), shop.url("gateway"), PRODUCTS)
    timeout = aiohttp.ClientTimeout(total=60)
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        shop.url("gateway"), headers=headers, timeout=timeout, connector=connector
    ) as http:
        renewing = asyncio.create_task(stay_signed_in(http, partial(token_of, shop.url("gateway"), sign_in.CUSTOMER)))
        try:
            yield Customer(http)
        finally:
            renewing.cancel()


def cpu(shop: RunningShop) -> dict[str, float]:
    """Seconds of processor time of each of the shop's processes so far."""
    return {name: cpu_seconds(pid) for name, pid in shop.pids().items()}


def last_of(orders: Sequence[Placed]) -> list[Placed]:
    """The orders after which all have most likely been shipped."""
    return sorted(orders, key=lambda order: order.accepted)[-_LAST:]
