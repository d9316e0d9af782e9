"""Statements that each process sends to its database for an order, by its own count: on SQLite there is no other.

In a shop of its own: counting, as all metrics, costs processor time. The intake of webhooks sends one more for each
group of them, past the chassis, and is not counted.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from functools import partial

import aiohttp

from bench.orders import load
from bench.shop import RunningShop, fresh_shop
from shop.process_table import TABLE
from shop.supervisor.ports import free_in_a_row

_COUNTED = re.compile(r'^database_statements_total\{database="[^"]*"\} (\S+)$', re.MULTILINE)
_WARMING = 3.0


def statements_by_process(settings: Mapping[str, str], *, rate: float, seconds: float) -> dict[str, float]:
    """Statements of an order by process, the largest first, at so many orders a second."""
    first = free_in_a_row("127.0.0.1", len(TABLE))
    with fresh_shop(**settings, SHOP_METRICS_PORT=str(first)) as shop:
        return asyncio.run(_measured(shop, first, rate, seconds))


async def _measured(shop: RunningShop, first: int, rate: float, seconds: float) -> dict[str, float]:
    async with load.customer_of(shop) as customer, aiohttp.ClientSession() as http:
        place = partial(_placed, customer, rate)
        await place(_WARMING)
        before = await _counts(http, first)
        orders = await place(seconds)
        after = await _counts(http, first)
    found = {name: (count - before[name]) / orders for name, count in after.items() if count > before[name]}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


async def _placed(customer: load.Customer, rate: float, seconds: float) -> int:
    """Place orders and wait until they have shipped; how many they were."""
    run = load.Run(seconds, began=time.time())
    await load.opened(customer, run, rate=rate)
    await customer.wait_until_shipped(load.last_of(run.orders))
    return len(run.orders)


async def _counts(http: aiohttp.ClientSession, first: int) -> dict[str, float]:
    """Statements by process; without those that have no database, or no such port."""
    found = {}
    for place, spec in enumerate(TABLE):
        try:
            async with http.get(f"http://127.0.0.1:{first + place}/metrics") as response:
                counts = _COUNTED.findall(await response.text())
        except aiohttp.ClientConnectorError:
            continue
        if counts:
            found[spec.name] = sum(map(float, counts))
    return found
