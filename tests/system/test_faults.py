"""Whatever dies, every accepted order reaches its end exactly once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from chassis.broker.port import Topology
from chassis.errors import ShopError
from chassis.settings import TOPOLOGY, environment
from shop.audit import Settings, audit_running_shop
from shop.process_table import TABLE
from tests.conftest import own_postgres
from tests.rabbitmq import own_rabbitmq
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

# The console keeps no order, and killing it costs only the traces.
VICTIMS = [spec.name for spec in TABLE]


@pytest.fixture(
    params=["embedded", pytest.param("rabbitmq+postgresql", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])]
)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RealShop]:
    async with AsyncExitStack() as stack:
        env: dict[str, str] = {}
        if request.param != "embedded":
            env["SHOP_BROKER_URL"] = await stack.enter_async_context(own_rabbitmq(Topology.load(TOPOLOGY)))
            env["SHOP_DATABASE_URL"] = await stack.enter_async_context(own_postgres())
        yield await stack.enter_async_context(real_shop(tmp_path, env))


async def accepted(shop: RealShop, product_id: str) -> str:
    """Place an order as a client does that means it: with one idempotency key, again until it is accepted."""
    key = uuid.uuid4().hex

    async def attempt() -> str:
        try:
            response = await shop.place((product_id, 1), key=key)
        except httpx.TransportError:
            return ""  # the gateway itself is the one that died
        assert response.status_code in (202, 503, 504), response.text
        if response.status_code == 202:
            return str(response.json()["id"])
        assert int(response.headers["retry-after"]) >= 1
        return ""

    return await eventually(attempt, within=60)


async def test_every_process_may_die_in_turn_during_ten_orders(shop: RealShop) -> None:
    """Kill each process while ten orders are on their way: all are shipped once, and every service's books agree."""
    await shop.token()
    order_ids: list[str] = []
    for round_number, victim in enumerate(VICTIMS):
        product_id = str(round_number % 5 + 1)
        before = [await accepted(shop, product_id) for _ in range(4)]
        placing = [asyncio.create_task(accepted(shop, product_id)) for _ in range(6)]
        old_pid = shop.kill(victim)
        order_ids += [*before, *await asyncio.gather(*placing)]
        await shop.is_back(victim, old_pid)
    with environment(shop.around.shared):
        settings = Settings()

    async def agreed() -> bool:
        try:
            report = await audit_running_shop(settings, wait=0)
        except (ShopError, httpx.HTTPError):
            return False  # what was killed last is not quite back
        assert report.differences == []
        assert list(report.in_flight) == []
        return report.orders.total() == len(order_ids)

    await eventually(agreed, within=90)
    assert len(set(order_ids)) == 10 * len(VICTIMS)
