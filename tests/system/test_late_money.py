"""A refund that has begun is finished, whichever process is killed on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from chassis.settings import environment
from shop.audit import Settings
from shop.audit.command import look
from shop.audit.findings import State
from shop.audit.report import as_text
from tests.journey.late_money import books_of, ended_order, history, pay_late, settled
from tests.system.engines import engines
from tests.system.real_shop import real_shop
from tests.waiting import eventually

__all__ = ["engines"]
pytestmark = pytest.mark.timeout(300)

TYPES = ["order.placed", "order.rejected", "order.refund_due"]
# Those through which the news and the refund go, in their order.
ON_THE_WAY = ("payment_provider", "webhooks", "webhook_worker", "orders", "order_worker")


async def test_every_refund_survives_a_kill(tmp_path: Path, engines: dict[str, str]) -> None:
    """Each process on the way is killed when late money has been collected: all of it is given back, and once."""
    async with real_shop(tmp_path, engines) as shop:
        late: dict[str, dict[str, Any]] = {}
        for process in ON_THE_WAY:
            order_id = await ended_order(shop)
            late[order_id] = await pay_late(shop, order_id)

            async def collected(order_id: str = order_id) -> bool:
                payments, _ = await books_of(shop, order_id)
                return bool(payments[0]["status"] != "processing")

            await eventually(collected, within=60)
            await shop.is_back(process, shop.kill(process))
        for order_id, payment in late.items():

            async def given_back(order_id: str = order_id) -> bool:
                payments, _ = await books_of(shop, order_id)
                return [each["status"] for each in payments] == ["refunded"]

            await eventually(given_back, within=60)
            _, refunds = await books_of(shop, order_id)
            assert [(each["payment_intent"], each["amount"]) for each in refunds] == [
                (payment["id"], payment["amount"])
            ]
            assert await history(shop, order_id) == TYPES
        await settled(shop)


async def test_refund_that_waits_is_in_flight(tmp_path: Path, engines: dict[str, str]) -> None:
    """While the worker stands still, the audit names what will give the money back; afterwards all is settled."""
    async with real_shop(tmp_path, engines) as shop:
        order_id = await ended_order(shop)
        with environment(shop.around.shared):
            settings = Settings()
        worker: int = shop.processes()["order_worker"]["pid"]
        os.kill(worker, signal.SIGSTOP)
        try:
            await pay_late(shop, order_id)

            async def due() -> bool:
                return await history(shop, order_id) == TYPES

            await eventually(due, within=60)
            report = await look(settings)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert report.exit_code == 0, as_text(report)
        assert report.orders[State.IN_FLIGHT] == 1, as_text(report)
        assert {found.subject for found in report.in_flight} == {order_id}
        assert any("with 0 of" in found.what or "in the outbox" in found.what for found in report.in_flight)
        await settled(shop)
