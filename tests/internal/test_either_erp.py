"""Replacing the legacy system touches no caller: the same journeys with either ERP behind the adapter."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.grpc.client import connect
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from tests.journey.test_order import books_agree, reaches, shipped
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually


@pytest.fixture(params=["legacy", "modern"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    without = ["legacy_soap"] if request.param == "modern" else []
    async with shop_in_one_loop(tmp_path, {"SHOP_ERP": request.param}, without=without) as running:
        yield running


async def test_journeys_with_either_erp(shop: Shop) -> None:
    """Orders are shipped, rejected and cancelled alike, goods come in, and all books agree at the end."""
    await asyncio.gather(*(shipped(shop, ("42", 1), ("5", 2)) for _ in range(3)))
    for refused in (("7", 4), ("4", 60)):  # more than there is, and over the credit limit
        response = await shop.place(refused, key=uuid.uuid4().hex)
        await reaches(shop, response.json()["id"], "rejected")
    cancelled = (await shop.place(("21", 1))).json()["id"]
    if (await shop.http.post(f"/v1/orders/{cancelled}/cancel", headers=await shop.bearer())).status_code == 202:
        await reaches(shop, cancelled, "cancelled")
    await receive(shop, "7", 20)

    async def can_be_sold() -> bool:
        found = (await shop.http.get("/v1/products/7/availability")).json()
        return (found["available"], found["stale"]) == (23, False)

    await eventually(can_be_sold)
    order = await shipped(shop, ("7", 4))
    await has_invoice(shop, order["id"])
    await books_agree(shop)


async def has_invoice(shop: Shop, order_id: str) -> None:
    """A PDF that the customer can read, and no other customer."""

    async def written() -> bool:
        response = await shop.http.get(f"/v1/files/invoice-{order_id}", headers=await shop.bearer())
        return response.status_code == 200 and response.content.startswith(b"%PDF-")

    await eventually(written)
    assert (await shop.http.get(f"/v1/files/invoice-{order_id}")).status_code == 404


async def receive(shop: Shop, product_id: str, pieces: int) -> None:
    """Let a warehouse scanner report goods."""
    headers = await shop.bearer("admin@shop.test", "admin")
    async with connect(shop.address("SHOP_INVENTORY_ADDRESS")) as channel:
        report = inventory_pb2.StockAdjustment(id=uuid.uuid4().hex, product_id=product_id, quantity=pieces)
        call = InventoryServiceStub(channel).SyncStock(
            iter([report]), metadata=[("authorization", headers["Authorization"])]
        )
        assert [level.error_code async for level in call] == [""]
