"""Inventory as a process: scanners, reservations that expire, and the ERP hearing of every piece."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from chassis.errors import ShopError, StoreUnavailable
from protos.shop.inventory.v1 import inventory_pb2 as pb
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from services.inventory.domain import Adjustment, Stock
from services.inventory.sql_store import SqlStockStore
from tests.internal.inventories import FakeErp, Start, signed, starter
from tests.internal.scanner import Scanner
from tests.internal.standstill import standstill
from tests.waiting import eventually


@pytest.fixture
def erp() -> FakeErp:
    return FakeErp()


@pytest.fixture
def start(tmp_path: Path, database_url: str, erp: FakeErp) -> Start:
    return starter(tmp_path, database_url, erp)


async def refused(call: Any) -> str:
    with pytest.raises(ShopError) as caught:
        await call
    return caught.value.code


async def test_each_report_is_answered_in_its_order(start: Start) -> None:
    """A scanner gets the level back for each report, in their order; a refused one does not end the stream."""
    async with start() as inventory:
        scanner = Scanner()
        scanner.count("a", 5)
        scanner.count("b", -200)
        scanner.count("c", 0)
        scanner.count("not a reference", 1)
        scanner.count("d", -5)
        await scanner.deliver(inventory)
        told = [(each.adjustment_id, each.available, each.error_code) for each in scanner.answers.values()]
        assert told == [
            ("a", 105, ""),
            ("b", 0, "OUT_OF_STOCK"),
            ("c", 0, "INVALID_INPUT"),
            ("not a reference", 0, "INVALID_INPUT"),
            ("d", 100, ""),
        ]
        again = Scanner()
        again.count("a", 6)
        await again.deliver(inventory)
        assert again.answers["a"].error_code == "REFERENCE_REUSED"
        assert await inventory.figures() == (100, 0, 0)


async def test_a_scanner_resumes_wherever_its_stream_broke(start: Start, erp: FakeErp) -> None:
    """However a stream breaks, by the scanner or by inventory's end, in the end each report counts exactly once."""
    scanner = Scanner()
    for number in range(60):
        scanner.count(f"scan-{number}", 1)
    async with start() as inventory:
        for broken_after in (1, 3, 7, 2):
            await scanner.deliver(inventory, break_after=broken_after)
        delivering = asyncio.create_task(scanner.deliver(inventory))
        await eventually(lambda: len(scanner.unanswered) < 40)
    await delivering
    async with start() as inventory:
        while scanner.unanswered:
            await scanner.deliver(inventory)
        assert await inventory.figures() == (160, 0, 0)
        await eventually(lambda: len(erp.booked) == 60)
    assert scanner.streams <= 7
    assert sum(each.quantity for each in erp.booked.values()) == 60


async def test_a_scanner_keeps_its_reports_while_the_database_is_away(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that meets a database outage ends the stream with UNAVAILABLE; sent again, it counts exactly once."""
    store, outages = SqlStockStore.adjust, ["b"]

    async def adjust(self: SqlStockStore, adjustment: Adjustment) -> Stock:
        if adjustment.id in outages:
            outages.remove(adjustment.id)
            raise StoreUnavailable
        return await store(self, adjustment)

    monkeypatch.setattr(SqlStockStore, "adjust", adjust)
    reports = [pb.StockAdjustment(id=each, product_id="42", quantity=1) for each in ("a", "b", "c")]
    async with start() as inventory:
        stream: Any = inventory.stub.SyncStock(iter(reports), metadata=signed())
        answers = aiter(stream)
        assert (await anext(answers)).adjustment_id == "a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(answers)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        again = inventory.stub.SyncStock(iter(reports), metadata=signed())
        assert [(level.adjustment_id, level.error_code) async for level in again] == [("a", ""), ("b", ""), ("c", "")]
        assert await inventory.figures() == (103, 0, 0)


async def test_a_scanner_that_reads_no_answers_is_slowed_down(start: Start) -> None:
    """Reports whose answers are not read are not taken in without end; once they are read, all are answered."""
    sent = 0
    size = 8_000

    async def reports() -> Any:
        nonlocal sent
        for number in range(size):
            sent = number + 1
            # A long product id, refused before any query: the stream is what is measured here.
            yield pb.StockAdjustment(id=f"r{number}", product_id="x" * 2_000, quantity=1)

    async with start() as inventory:
        call = inventory.stub.SyncStock(reports(), metadata=signed())
        stopped = await standstill(lambda: sent)
        assert stopped < size
        answers = [level.adjustment_id async for level in call]
        assert answers == [f"r{number}" for number in range(size)]


async def test_a_scanner_needs_a_token(start: Start) -> None:
    """Stock is adjusted by admins only."""

    def refusal(address: str, metadata: Any) -> str:
        """By gRPC's threaded client, for the reason that `tests/grpc_streams.py` gives."""
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
            next(InventoryServiceStub(channel).SyncStock(iter([pb.StockAdjustment(id="a")]), metadata=metadata))
        failed: Any = caught.value
        return str(failed.code().name)

    async with start() as inventory:
        for metadata, code in (((), "UNAUTHENTICATED"), (signed("123", "customer"), "PERMISSION_DENIED")):
            assert await asyncio.to_thread(refusal, inventory.address, metadata) == code


async def test_the_erp_hears_of_goods_even_if_it_was_away(start: Start, erp: FakeErp) -> None:
    """While the ERP is away scanning goes on; it gets the adjustments when it is back, also after a restart of
    inventory."""
    erp.away = True
    scanner = Scanner()
    async with start() as inventory:
        scanner.count("a", 5)
        scanner.count("b", -2, "7")
        await scanner.deliver(inventory)
        assert not scanner.unanswered
        await eventually(lambda: erp.asked)
    assert not erp.booked
    erp.away = False
    async with start():
        await eventually(lambda: len(erp.booked) == 2)
    assert [(each.product_id, each.quantity) for each in erp.booked.values()] == [("42", 5), ("7", -2)]


async def test_what_the_erp_refuses_holds_up_nothing_else(
    start: Start, erp: FakeErp, caplog: pytest.LogCaptureFixture
) -> None:
    """An adjustment that the ERP does not take is said in the log, stays, and the others are booked."""
    erp.refuses = {"a"}
    scanner = Scanner()
    for name in ("a", "b", "c"):
        scanner.count(name, 1)
    with caplog.at_level(logging.ERROR):
        async with start() as inventory:
            await scanner.deliver(inventory)
            await eventually(lambda: erp.booked.keys() == {"b", "c"})
            await eventually(lambda: any("stock change a rejected" in record.getMessage() for record in caplog.records))
            erp.refuses = set()
            await eventually(lambda: "a" in erp.booked)


async def test_a_batch_that_the_erp_rejects_holds_up_nothing_after_it(start: Start, erp: FakeErp) -> None:
    """More adjustments than go in one batch are rejected for good; those counted after them are booked."""
    erp.refuses = {f"r{number:03}" for number in range(120)}
    scanner = Scanner()
    for name in (*sorted(erp.refuses), "late"):
        scanner.count(name, 1)
    async with start() as inventory:
        await scanner.deliver(inventory)
        await eventually(lambda: erp.booked.keys() == {"late"})


async def test_last_fifty_pieces_go_to_fifty_of_two_hundred(start: Start) -> None:
    """Two hundred orders over gRPC want the last fifty pieces at once: fifty get one, no other waits in vain."""
    async with start() as inventory:
        await inventory.reserve("before", quantity=50)
        outcomes = await asyncio.gather(
            *(inventory.reserve(f"order-{number}") for number in range(200)), return_exceptions=True
        )
        codes = Counter(each.code if isinstance(each, ShopError) else repr(each) for each in outcomes)
        assert codes == {"None": 50, "OUT_OF_STOCK": 150}
        assert await inventory.figures() == (0, 100, 0)


async def test_an_unconfirmed_reservation_expires(start: Start) -> None:
    """What an order holds for too long is given back by itself; it cannot be confirmed then, but reserved anew."""
    async with start(reservation_ttl=15.0) as inventory:
        await inventory.reserve("o1", quantity=3)
        assert (await inventory.reservation("o1")).HasField("expires_at")

        async def given_back() -> bool:
            return await inventory.figures() == (100, 0, 0)

        await eventually(given_back, within=60)
        assert (await inventory.reservation("o1")).state == "released"
        assert await refused(inventory.call("Confirm", pb.ConfirmRequest(order_id="o1"))) == "RESERVATION_EXPIRED"
        assert await refused(inventory.call("Ship", pb.ShipRequest(order_id="o1"))) == "RESERVATION_NOT_HELD"
        await inventory.reserve("o1", quantity=3)
        await inventory.call("Confirm", pb.ConfirmRequest(order_id="o1"))
        assert (await inventory.reservation("o1")).state == "held"
        assert await inventory.figures() == (97, 3, 0)
        await inventory.call("Release", pb.ReleaseRequest(order_id="o1"))
        assert await refused(inventory.reserve("o1", quantity=3)) == "ORDER_CLOSED"


async def test_a_confirmed_reservation_stays(start: Start) -> None:
    """Once confirmed, a reservation outlives its time, can be shipped, and can still be released."""
    async with start(reservation_ttl=15.0) as inventory:
        for order_id in ("kept", "shipped", "released", "forgotten"):
            await inventory.reserve(order_id)
        for order_id in ("kept", "kept", "shipped", "released"):
            await inventory.call("Confirm", pb.ConfirmRequest(order_id=order_id))
        await inventory.call("Ship", pb.ShipRequest(order_id="shipped"))
        await inventory.call("Release", pb.ReleaseRequest(order_id="released"))

        async def forgotten_is_back() -> bool:
            return await inventory.figures() == (98, 1, 1)

        await eventually(forgotten_is_back, within=60)
        await inventory.call("Confirm", pb.ConfirmRequest(order_id="shipped"))
        await inventory.reserve("kept")
        assert not (await inventory.reservation("kept")).HasField("expires_at")
        for order_id in ("released", "unknown"):
            assert (
                await refused(inventory.call("Confirm", pb.ConfirmRequest(order_id=order_id))) == "RESERVATION_NOT_HELD"
            )


async def test_confirming_and_expiring_at_once(start: Start) -> None:
    """Whichever of confirming and expiring comes first, an order whose confirmation succeeded keeps its stock."""
    async with start(reservation_ttl=0.05) as inventory:

        async def one(order_id: str) -> bool:
            await inventory.reserve(order_id)
            await asyncio.sleep(0.05)  # about when it expires: this is the race
            try:
                await inventory.call("Confirm", pb.ConfirmRequest(order_id=order_id))
            except ShopError as error:
                if error.code != "RESERVATION_EXPIRED":
                    raise
                return False
            return True

        kept = sum(await asyncio.gather(*(one(f"o{number}") for number in range(40))))

        async def settled() -> bool:
            return await inventory.figures() == (100 - kept, kept, 0)

        await eventually(settled)
