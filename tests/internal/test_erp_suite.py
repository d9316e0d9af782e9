"""What the shop may rely on, whichever ERP stands behind the port: one suite over both adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from chassis.database.database import database
from chassis.errors import ShopError
from chassis.observability.tracing import Telemetry
from chassis.settings import ProcessSettings
from legacy_soap.bootstrap import Settings, running
from services.erp_adapter.bootstrap import CONTRACT, MIGRATIONS
from services.erp_adapter.domain import GoodsReceipt, Item, NewSalesOrder, OrderState, ShipmentState
from services.erp_adapter.modern_erp import ModernErp
from services.erp_adapter.ports import Erp
from services.erp_adapter.soap_client import Login, soap_client
from services.erp_adapter.soap_erp import SoapErp
from tests.conftest import own_postgres

STOCK = {"42": 100, "7": 3}

# Opens the ERP; a second time, what the first has done is still there.
Open = Callable[[], AbstractAsyncContextManager[Erp]]


@pytest.fixture(params=["legacy", "modern", pytest.param("modern on postgresql", marks=pytest.mark.postgres)])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    if request.param == "legacy":

        @asynccontextmanager
        async def legacy() -> AsyncIterator[Erp]:
            with running(Settings(port=0, data_dir=tmp_path, stock=STOCK)) as theirs:
                url, login = f"http://127.0.0.1:{theirs.port}/", Login("SHOP", "shop")
                contract = CONTRACT.read_text()
                async with soap_client(url, Telemetry("test"), login, budget=20, contract=contract) as client:
                    yield SoapErp(client)

        yield legacy
        return

    @asynccontextmanager
    async def modern(template: str = "") -> AsyncIterator[Erp]:
        url = ProcessSettings(data_dir=tmp_path, database_url=template).database("erp_adapter")
        async with database(url, MIGRATIONS, create=True) as db:
            erp = ModernErp(db)
            await erp.add_missing(STOCK)
            yield erp

    if request.param == "modern":
        yield modern
    else:
        async with own_postgres() as template:
            yield lambda: modern(template)


@pytest.fixture
async def erp(opened: Open) -> AsyncIterator[Erp]:
    async with opened() as found:
        yield found


def order(
    order_id: str = "order-1", *items: tuple[str, int, str], customer: str = "123", currency: str = "EUR"
) -> NewSalesOrder:
    lines = [Item(product, pieces, Decimal(price)) for product, pieces, price in items or [("42", 2, "49.00")]]
    return NewSalesOrder(order_id, customer, lines, currency, datetime.now(UTC))


def receipt(quantity: int, product: str = "42", receipt_id: str = "receipt-1") -> GoodsReceipt:
    return GoodsReceipt(receipt_id, product, quantity, datetime.now(UTC))


async def on_hand(erp: Erp, *products: str) -> dict[str, int]:
    return {level.product_id: level.on_hand for level in await erp.stock_levels(products)}


async def code_of(refused: object) -> str:
    with pytest.raises(ShopError) as caught:
        await refused  # type: ignore[misc]
    return caught.value.code


async def test_stock_levels(erp: Erp) -> None:
    """Levels come with the moment at which they were true; unknown products are left out."""
    levels = await erp.stock_levels(["42", "unknown", "7"])
    assert {level.product_id: level.on_hand for level in levels} == STOCK
    assert all(abs(level.as_of - datetime.now(UTC)) < timedelta(minutes=1) for level in levels)
    assert await erp.stock_levels([]) == []


async def test_an_order_is_registered_once(erp: Erp) -> None:
    """However often and however much at once an order is registered, it has one number."""
    numbers = await asyncio.gather(*(erp.register(order()) for _ in range(10)))
    assert len({*numbers, await erp.register(order())}) == 1
    assert await erp.register(order("order-2")) not in numbers
    found, following = await erp.sales_orders("", 10)
    assert [each.order_id for each in found] == ["order-1", "order-2"]
    assert following == ""


@pytest.mark.parametrize(
    "other",
    [
        order("order-1", ("42", 3, "49.00")),
        order("order-1", ("7", 2, "49.00")),
        order("order-1", ("42", 2, "49.01")),
        order("order-1", ("42", 2, "49.00"), ("7", 1, "1.00")),
        order("order-1", customer="456"),
        order("order-1", currency="USD"),
    ],
)
async def test_an_order_id_stands_for_one_order(erp: Erp, other: NewSalesOrder) -> None:
    """An id that is taken by another order is refused, and that order stays as it is."""
    number = await erp.register(order())
    assert await code_of(erp.register(other)) == "REFERENCE_REUSED"
    assert await erp.register(order()) == number
    await erp.ship("order-1")
    assert await on_hand(erp, "42", "7") == {"42": 98, "7": 3}


@pytest.mark.parametrize(
    ("currency", "hundredth", "least"), [("EUR", "100.00", "0.01"), ("JPY", "10000", "1"), ("KWD", "10.000", "0.001")]
)
async def test_credit_limit(erp: Erp, currency: str, hundredth: str, least: str) -> None:
    """An order of a million minor units, such as 10,000.00, is taken, one of one more is refused and leaves nothing."""
    await erp.register(order("limit", ("42", 100, hundredth), currency=currency))
    over = order("over", ("42", 100, hundredth), ("7", 1, least), currency=currency)
    assert await code_of(erp.register(over)) == "CREDIT_LIMIT_EXCEEDED"
    assert [each.order_id for each in (await erp.sales_orders("", 10))[0]] == ["limit"]


async def test_a_shipment_is_made_once_and_takes_the_pieces(erp: Erp) -> None:
    """A shipment leaves tomorrow with the order's pieces, once, however often and at once it is called."""
    await erp.register(order("order-1", ("42", 2, "49.00"), ("42", 3, "49.00"), ("7", 1, "1.00")))
    shipments = await asyncio.gather(*(erp.ship("order-1") for _ in range(10)))
    assert {*shipments, await erp.shipment("order-1")} == {shipments[0]}
    assert (shipments[0].order_id, shipments[0].state) == ("order-1", ShipmentState.CREATED)
    assert shipments[0].ships_on == datetime.now(UTC).date() + timedelta(days=1)
    assert await on_hand(erp, "42", "7") == {"42": 95, "7": 2}


async def test_a_cancellation_holds(erp: Erp) -> None:
    """Cancelling works twice, and before the order has come; nothing can be done with the order afterwards."""
    await erp.register(order())
    for order_id in ("order-1", "late"):
        await erp.cancel(order_id)
        await erp.cancel(order_id)
        assert await code_of(erp.register(order(order_id))) == "ORDER_CANCELLED"
        assert await code_of(erp.ship(order_id)) == "ORDER_CANCELLED"
        assert await code_of(erp.shipment(order_id)) == "NOT_FOUND"
    assert await on_hand(erp, "42") == {"42": 100}


async def test_what_has_been_shipped_cannot_be_cancelled(erp: Erp) -> None:
    """Shipping is final, and a late repeat of the registration changes nothing."""
    number = await erp.register(order())
    await erp.ship("order-1")
    assert await code_of(erp.cancel("order-1")) == "ORDER_SHIPPED"
    assert await erp.register(order()) == number
    (found,), _ = await erp.sales_orders("", 10)
    assert (found.state, found.shipments) == (OrderState.SHIPPED, 1)


async def test_unknown_orders(erp: Erp) -> None:
    """What was never registered can be neither shipped nor asked about."""
    assert await code_of(erp.ship("nobody")) == "NOT_FOUND"
    assert await code_of(erp.shipment("nobody")) == "NOT_FOUND"


async def test_a_new_product_begins_without_stock(erp: Erp) -> None:
    """A product becomes known with its first order, and its stock may go below zero."""
    await erp.register(order("order-1", ("new", 3, "1.00")))
    assert await on_hand(erp, "new") == {"new": 0}
    await erp.ship("order-1")
    assert await on_hand(erp, "new") == {"new": -3}


async def test_goods_are_booked_once(erp: Erp) -> None:
    """A receipt counts once, in or out, also of a product that is new; its id stands for one receipt."""
    await asyncio.gather(*(erp.post_receipt(receipt(5)) for _ in range(10)))
    await erp.post_receipt(receipt(-7, receipt_id="receipt-2"))
    await erp.post_receipt(receipt(4, "new", "receipt-3"))
    for other in (receipt(6), receipt(5, "7"), receipt(-5)):
        assert await code_of(erp.post_receipt(other)) == "REFERENCE_REUSED"
    assert await on_hand(erp, "42", "7", "new") == {"42": 98, "7": 3, "new": 4}


async def test_a_sales_order_is_listed_whole(erp: Erp) -> None:
    """The list says whose an order is, in which currency, what is in it and how its shipments are numbered."""
    placed = order("order-1", ("42", 2, "49.00"), ("7", 1, "0.50"))
    await erp.register(placed)
    shipment = await erp.ship("order-1")
    await erp.cancel("never-came")
    listed, came_cancelled = (await erp.sales_orders("", 10))[0]
    assert (listed.customer_id, listed.currency) == (placed.customer_id, placed.currency)
    assert list(listed.items) == list(placed.items)
    assert list(listed.shipment_numbers) == [shipment.number]
    assert (came_cancelled.customer_id, came_cancelled.currency) == ("", "")
    assert [*came_cancelled.items, *came_cancelled.shipment_numbers] == []


async def test_pages_of_sales_orders(erp: Erp) -> None:
    """Every order is on one page, in the order of the numbers, with its state."""
    for number in range(5):
        await erp.register(order(f"order-{number}"))
    await erp.ship("order-0")
    await erp.cancel("order-1")
    found, after = await erp.sales_orders("", 2)
    while after:
        page, after = await erp.sales_orders(after, 2)
        found += page
    assert [each.order_id for each in found] == [f"order-{number}" for number in range(5)]
    assert [each.state for each in found] == [OrderState.SHIPPED, OrderState.CANCELLED, *[OrderState.OPEN] * 3]
    assert [each.shipments for each in found] == [1, 0, 0, 0, 0]
    assert await code_of(erp.sales_orders("x", 2)) == "INVALID_INPUT"


@pytest.mark.parametrize(
    "impossible",
    [
        order("order 1"),
        order(""),
        order(customer="ä"),
        order("order-1", ("42", 0, "1.00")),
        order("order-1", ("42", 1_000_000_000, "1.00")),
        order("order-1", ("42", 1, "1.999")),
        order("order-1", ("42", 1, "-1.00")),
        order("order-1", ("x" * 65, 1, "1.00")),
        order(currency="euro"),
        NewSalesOrder("order-1", "123", [], "EUR", datetime.now(UTC)),
    ],
)
async def test_what_no_erp_could_take_is_refused(erp: Erp, impossible: NewSalesOrder) -> None:
    """An order that cannot be said to an ERP is INVALID_INPUT, and nothing of it remains."""
    assert await code_of(erp.register(impossible)) == "INVALID_INPUT"
    assert await erp.sales_orders("", 10) == ([], "")


async def test_other_things_that_no_erp_could_take(erp: Erp) -> None:
    """The same holds for references and receipts."""
    for refused in (
        erp.cancel("a b"),
        erp.ship("a b"),
        erp.shipment("a b"),
        erp.stock_levels(["42", "a b"]),
        erp.post_receipt(receipt(0)),
        erp.post_receipt(receipt(1, "a b")),
        erp.post_receipt(receipt(1, receipt_id="")),
    ):
        assert await code_of(refused) == "INVALID_INPUT"


async def test_everything_survives_a_restart(opened: Open) -> None:
    """Orders, cancellations, shipments, receipts and stock are there after a restart."""
    async with opened() as erp:
        number = await erp.register(order())
        shipment = await erp.ship("order-1")
        await erp.cancel("cancelled")
        await erp.post_receipt(receipt(5))
    async with opened() as erp:
        assert await erp.register(order()) == number
        assert await erp.shipment("order-1") == shipment
        assert await code_of(erp.register(order("cancelled"))) == "ORDER_CANCELLED"
        await erp.post_receipt(receipt(5))
        assert await on_hand(erp, "42") == {"42": 103}
