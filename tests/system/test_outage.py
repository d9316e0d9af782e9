"""The ERP or the payment provider is away for longer than any short retry: orders wait for it, and nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis.settings import environment
from shop.audit import Settings, audit_running_shop
from shop.audit.report import as_text
from tests.contract.proxy import Proxy, proxy
from tests.shop import free_ports
from tests.system.engines import engines
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

__all__ = ["engines"]
pytestmark = pytest.mark.timeout(300)

# Seconds. All retries but the last are over in one, and the outage is longer than a reservation lasts.
RETRY_DELAYS = "[0.05, 0.1, 0.2, 0.5]"
DELAYED_AFTER = 1.0
RESERVATION_TTL = timedelta(seconds=10)
# Which process is away, the setting of its port, and that of its address.
AWAY = {
    "legacy_soap": ("SHOP_LEGACY_SOAP_PORT", "SHOP_LEGACY_SOAP_URL"),
    "payment_provider": ("SHOP_PAYMENT_PORT", "SHOP_PAYMENT_URL"),
}
WHOLE_LIFE = ["order.placed", "order.delayed", "order.confirmed", "order.paid", "order.shipped"]


@dataclass(frozen=True)
class Outage:
    """A shop of real processes, and the way to the one that will be away."""

    shop: RealShop
    way: Proxy

    def begin(self) -> None:
        self.way.refusing = True
        self.way.cut()

    def end(self) -> None:
        self.way.refusing = False

    async def placed(self, product_id: str, quantity: int) -> str:
        response = await self.shop.place((product_id, quantity))
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    async def is_(self, order_id: str, status: str, reason: str = "") -> bool:
        order = await self.shop.order(order_id)
        return bool(order["status"] == status and (order["status_reason"] or "").startswith(reason))

    async def history(self, order_id: str) -> list[dict[str, Any]]:
        response = await self.shop.http.get(f"/v1/orders/{order_id}/events", headers=await self.shop.bearer())
        found: list[dict[str, Any]] = response.json()["items"]
        return found

    async def available(self, product_id: str) -> int:
        return int((await self.shop.http.get(f"/v1/products/{product_id}/availability")).json()["available"])


@asynccontextmanager
async def shop_behind_a_way(process: str, data_dir: Path, engines: dict[str, str]) -> AsyncIterator[Outage]:
    """A shop that reaches one of the systems outside only by a way that can be blocked."""
    port_setting, url_setting = AWAY[process]
    (port,) = free_ports(1)
    async with proxy("127.0.0.1", port) as way:
        env = {
            "SHOP_RETRY_DELAYS": RETRY_DELAYS,
            "SHOP_ORDER_DELAYED_AFTER": str(DELAYED_AFTER),
            "SHOP_RESERVATION_TTL": str(RESERVATION_TTL.total_seconds()),
            port_setting: str(port),
            url_setting: f"http://127.0.0.1:{way.port}",
        }
        async with real_shop(data_dir, {**env, **engines}) as shop:
            yield Outage(shop, way)


@pytest.mark.parametrize("process", sorted(AWAY))
async def test_orders_outlive_an_outage(process: str, tmp_path: Path, engines: dict[str, str]) -> None:
    """Orders placed while the ERP or the payment provider is away stay accepted, say so, keep their stock, and ship."""
    async with shop_behind_a_way(process, tmp_path, engines) as outage:
        before = await outage.placed("42", 1)
        await eventually(lambda: outage.is_(before, "shipped"), within=30)
        outage.begin()
        orders = [await outage.placed(*item) for item in (("7", 3), ("42", 2), ("20", 1))]
        unwanted = await outage.placed("21", 1)
        began = datetime.now(UTC)
        for order_id in (*orders, unwanted):
            await eventually(lambda: outage.is_(order_id, "pending", "delayed: "), within=30)  # noqa: B023 - at once
        cancelled = await outage.shop.http.post(f"/v1/orders/{unwanted}/cancel", headers=await outage.shop.bearer())
        assert cancelled.status_code == 202, cancelled.text
        await outage.shop.is_back("order_worker", outage.shop.kill("order_worker"))
        await eventually(lambda: datetime.now(UTC) > began + 2 * RESERVATION_TTL, within=60)
        # The stock is still theirs: the next customer, after every first time limit, gets none of it.
        assert await outage.available("7") == 0
        late = await outage.placed("7", 1)
        await eventually(lambda: outage.is_(late, "rejected", "not enough of 7"), within=30)
        for order_id in orders:
            assert [event["type"] for event in await outage.history(order_id)] == WHOLE_LIFE[:2]
        outage.end()
        for order_id in orders:
            await eventually(lambda: outage.is_(order_id, "shipped"), within=60)  # noqa: B023 - at once
            assert [event["type"] for event in await outage.history(order_id)] == WHOLE_LIFE
        with environment(outage.shop.around.shared):
            settings = Settings()
        report = await audit_running_shop(settings, wait=60)
        assert report.at_rest, as_text(report)
        assert report.orders.total() == 6
        assert await outage.available("21") == 100
