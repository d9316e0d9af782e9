"""shop.inventory.v1, served: what can be promised, with and without the ERP, and the scanners' stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protos.shop.inventory.v1 import inventory_pb2 as pb
from tests.services.conftest import Service


def asked(*product_ids: str, live: bool = True) -> pb.CheckAvailabilityRequest:
    return pb.CheckAvailabilityRequest(product_ids=product_ids, live=live)


async def available(service: Service, product_id: str = "42") -> pb.Availability:
    (item,) = (await service.as_().call("CheckAvailability", asked(product_id))).items
    found: pb.Availability = item
    return found


def reservation(order_id: str, quantity: int = 1) -> pb.ReserveRequest:
    return pb.ReserveRequest(order_id=order_id, items=[pb.ReservationItem(product_id="42", quantity=quantity)])


async def figures(service: Service, product_id: str = "42") -> tuple[int, int, int]:
    page = await service.admin.call("ListStock", pb.ListStockRequest())
    stock = next(each for each in page.stock if each.product_id == product_id)
    return stock.available, stock.reserved, stock.shipped


async def test_live_answer_follows_the_erp(inventory_service: Service) -> None:
    """What the warehouse does not have cannot be promised, whatever our figure says."""
    inventory_service.fakes.levels = {"42": 60}
    found = await available(inventory_service)
    assert (found.available, found.stale) == (60, False)


async def test_erp_away_leaves_the_last_figure_and_its_time(inventory_service: Service) -> None:
    """While the ERP is away the last known figure is answered, marked stale, with the moment when it was true."""
    inventory_service.fakes.levels = {"42": 60}
    fresh = await available(inventory_service)
    inventory_service.fakes.away = True
    stale = await available(inventory_service)
    assert (stale.available, stale.stale) == (60, True)
    assert abs(stale.as_of.ToNanoseconds() - fresh.as_of.ToNanoseconds()) < 1_000_000
    inventory_service.fakes.away = False
    assert not (await available(inventory_service)).stale


async def test_unknown_products_are_left_out(inventory_service: Service) -> None:
    """What was never stocked is not in the answer; the rest is in the requested order."""
    response = await inventory_service.as_().call("CheckAvailability", asked("7", "x", "42", live=False))
    assert [(item.product_id, item.available) for item in response.items] == [("7", 3), ("42", 100)]


async def test_reservation_lives_and_ends(inventory_service: Service) -> None:
    """A saga reserves, ships and releases, each as often as it likes, and each counts once."""
    saga = inventory_service.process("order_worker")
    for _ in range(2):
        await saga.call("Reserve", reservation("o1", 3))
        await saga.call("Reserve", reservation("o2", 5))
    for _ in range(2):
        await saga.call("Ship", pb.ShipRequest(order_id="o1"))
        await saga.call("Release", pb.ReleaseRequest(order_id="o2"))
    assert await figures(inventory_service) == (97, 0, 3)
    assert (await saga.refusal("Reserve", reservation("o2"))).code == "ORDER_CLOSED"
    page = await inventory_service.admin.call("ListReservations", pb.ListReservationsRequest())
    assert [(found.order_id, found.state) for found in page.reservations] == [("o1", "shipped"), ("o2", "released")]


async def test_out_of_stock_names_the_products(inventory_service: Service) -> None:
    """A refused reservation says of which products there is not enough."""
    refusal = await inventory_service.process("order_worker").refusal("Reserve", reservation("o1", 101))
    assert (refusal.code, refusal.details) == ("OUT_OF_STOCK", {"product_ids": "42"})


@pytest.mark.parametrize("caller", [("u1", "customer"), ("1", "admin"), ("webhooks", "service")])
async def test_only_the_saga_reserves(inventory_service: Service, caller: tuple[str, str]) -> None:
    """Only orders' processes reserve stock."""
    assert (await inventory_service.as_(*caller).refusal("Reserve", reservation("o1"))).code == "FORBIDDEN"
    assert await figures(inventory_service) == (100, 0, 0)


async def test_scanners_stream_answers_each_report(inventory_service: Service) -> None:
    """Each report of a scanner gets the level then; a repeat changes nothing, and a refused one ends nothing."""
    reports = [
        pb.StockAdjustment(id="a1", product_id="42", quantity=10),
        pb.StockAdjustment(id="a1", product_id="42", quantity=10),
        pb.StockAdjustment(id="a2", product_id="42", quantity=-1_000),
        pb.StockAdjustment(id="a3", product_id="42", quantity=2**63 - 1),
        pb.StockAdjustment(id="", product_id="42", quantity=1),
        pb.StockAdjustment(id="a4", product_id="42", quantity=-5),
    ]
    stream = inventory_service.stub.SyncStock(iter(reports), metadata=inventory_service.admin.metadata)
    levels = [(level.adjustment_id, level.available, level.error_code) async for level in stream]
    assert levels == [
        ("a1", 110, ""), ("a1", 110, ""), ("a2", 0, "OUT_OF_STOCK"), ("a3", 0, "INVALID_INPUT"),
        ("", 0, "INVALID_INPUT"), ("a4", 105, ""),
    ]  # fmt: skip


async def test_scanner_gets_its_answer_before_it_goes_on(inventory_service: Service) -> None:
    """The stream is a conversation: a report is answered while the next one has not been made yet."""
    reports: asyncio.Queue[pb.StockAdjustment | None] = asyncio.Queue()

    async def scanner() -> AsyncIterator[pb.StockAdjustment]:
        while (report := await reports.get()) is not None:
            yield report

    stream: Any = inventory_service.stub.SyncStock(scanner(), metadata=inventory_service.admin.metadata)
    answers = aiter(stream)
    async with asyncio.timeout(10):
        for number in (1, 2, 3):
            await reports.put(pb.StockAdjustment(id=f"a{number}", product_id="42", quantity=1))
            assert (await anext(answers)).available == 100 + number
        await reports.put(None)
        assert [level async for level in answers] == []


async def test_listings_have_whole_pages_by_default(inventory_service: Service) -> None:
    """A listing for the audit without a size holds up to a thousand, and the figures as the ERP has them, or none."""
    inventory_service.fakes.levels = {"42": 90}
    page = await inventory_service.admin.call("ListStock", pb.ListStockRequest())
    assert (len(page.stock), page.next_cursor) == (24, "")
    by_id = {each.product_id: each for each in page.stock}
    assert by_id["42"].erp_on_hand == 90
    assert not by_id["1"].HasField("erp_on_hand")


async def test_listings_page_by_page(inventory_service: Service) -> None:
    """Following the cursor sees each product once."""
    seen: list[str] = []
    cursor = ""
    while True:
        page = await inventory_service.admin.call("ListStock", pb.ListStockRequest(page_size=10, cursor=cursor))
        seen += [each.product_id for each in page.stock]
        cursor = page.next_cursor
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 24
