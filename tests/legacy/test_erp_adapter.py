"""Service H over real gRPC, in front of the real ERP over real SOAP."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.errors import ShopError
from chassis.grpc.client import Client, connect
from chassis.observability.tracing import Telemetry
from chassis.resilience.deadlines import deadline_in
from legacy_soap.bootstrap import Running, running
from legacy_soap.bootstrap import Settings as TheirSettings
from protos.shop.erp.v1 import erp_pb2 as pb
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from services.erp_adapter.bootstrap import Settings, run
from services.erp_adapter.soap_client import Login, soap_client
from services.erp_adapter.soap_erp import SoapErp
from tests.legacy.conftest import switch_faults
from tests.legacy.identity import stub_users, token_for
from tests.shop import free_ports


class Shop:
    """Our side of the adapter: calls it as those of our processes that may, or as another caller (subject, role)."""

    def __init__(self, stub: ErpServiceStub, caller: tuple[str, str] | None) -> None:
        self._stub = stub
        self._inventory = client_of(*caller or ("inventory", "service"))
        self._order_worker = client_of(*caller or ("order_worker", "service"))

    async def ask(self, method: str, request: Any, *, within: float | None = None) -> Any:
        client = self._inventory if method == "GetStockLevels" else self._order_worker
        return await client.call(getattr(self._stub, method), request, timeout=within)

    async def refused(self, method: str, request: Any, *, within: float | None = None) -> ShopError:
        with pytest.raises(ShopError) as caught:
            await self.ask(method, request, within=within)
        return caught.value

    async def register(self, order_id: str, quantity: int = 2, product: str = "42", price: str = "49.00") -> str:
        response = await self.ask("RegisterSalesOrder", registration(order_id, quantity, product, price))
        number: str = response.sales_order_number
        return number

    async def levels(self, *products: str) -> dict[str, int]:
        response = await self.ask("GetStockLevels", pb.GetStockLevelsRequest(product_ids=products))
        return {level.product_id: level.on_hand for level in response.levels}


def client_of(subject: str, role: str) -> Client:
    """A client that shows this caller's token."""

    async def token() -> str:
        return token_for(subject, role)

    return Client("erp_adapter", Telemetry("test"), token=token, timeout=20)


def registration(
    order_id: str, quantity: int = 2, product: str = "42", price: str = "49.00"
) -> pb.RegisterSalesOrderRequest:
    """An order of one line."""
    placed_at = Timestamp()
    placed_at.FromDatetime(datetime.now(UTC))
    return pb.RegisterSalesOrderRequest(
        order_id=order_id,
        customer_id="123",
        items=[pb.SalesOrderItem(product_id=product, quantity=quantity, unit_price=price)],
        currency="EUR",
        placed_at=placed_at,
    )


@asynccontextmanager
async def adapter(erp_port: int, *, caller: tuple[str, str] | None = None, **settings: Any) -> AsyncIterator[Shop]:
    """The adapter in front of an ERP, with a stub of users beside it."""
    async with stub_users() as users_address:
        own = Settings(
            erp_adapter_port=0,
            legacy_soap_url=f"http://127.0.0.1:{erp_port}/?wsdl",
            users_address=users_address,
            otlp_url="",
            # A noisy machine is not what these tests are about.
            **{"legacy_soap_timeout": 20.0, **settings},
        )
        async with run(own) as process, connect(f"127.0.0.1:{process.port}") as channel:
            yield Shop(ErpServiceStub(channel), caller)


@pytest.fixture
async def shop(erp: Running) -> AsyncIterator[Shop]:
    """Our side, with the ERP running."""
    async with adapter(erp.port) as ours:
        yield ours


@pytest.fixture
def moved(settings: TheirSettings) -> TheirSettings:
    """An ERP that comes back to the same port."""
    (port,) = free_ports(1)
    return dataclasses.replace(settings, port=port)


async def test_stock_in_our_words(shop: Shop) -> None:
    """Levels of many products come by our ids as numbers; unknown ones are left out, repeated ones come once."""
    assert await shop.levels("42", "7", "unknown", "42") == {"42": 100, "7": 3}
    assert await shop.levels() == {}


async def test_the_life_of_an_order(shop: Shop) -> None:
    """An order is registered and shipped, once each however often we ask, and its pieces leave the stock."""
    number = await shop.register("order-1")
    assert await shop.register("order-1") == number
    shipment = (await shop.ask("CreateShipment", pb.CreateShipmentRequest(order_id="order-1"))).shipment
    again = (await shop.ask("CreateShipment", pb.CreateShipmentRequest(order_id="order-1"))).shipment
    assert again == shipment == (await shop.ask("GetShipment", pb.GetShipmentRequest(order_id="order-1"))).shipment
    assert (shipment.order_id, shipment.state) == ("order-1", "created")
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert shipment.ships_on.ToDatetime(tzinfo=UTC) == datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=UTC)
    assert await shop.levels("42") == {"42": 98}
    refusal = await shop.refused("CancelSalesOrder", pb.CancelSalesOrderRequest(order_id="order-1"))
    assert refusal.code == "ORDER_SHIPPED"


async def test_a_cancellation_holds(shop: Shop) -> None:
    """Cancelling works twice and before the order has come; afterwards it can no longer be registered."""
    for _ in range(2):
        await shop.ask("CancelSalesOrder", pb.CancelSalesOrderRequest(order_id="order-1"))
    assert (await shop.refused("RegisterSalesOrder", registration("order-1"))).code == "ORDER_CANCELLED"
    assert (
        await shop.refused("CreateShipment", pb.CreateShipmentRequest(order_id="order-1"))
    ).code == "ORDER_CANCELLED"


async def test_a_product_that_is_new_to_the_erp_can_be_ordered(shop: Shop) -> None:
    """The ERP learns of a product with its first order, so that an admin's new product can be sold at once."""
    await shop.register("order-1", quantity=3, product="a-new-product")
    await shop.ask("CreateShipment", pb.CreateShipmentRequest(order_id="order-1"))
    assert await shop.levels("a-new-product") == {"a-new-product": -3}


async def test_refusals_have_our_codes(shop: Shop) -> None:
    """What the ERP refuses, and what it could never take, comes back with our codes."""
    over = await shop.refused("RegisterSalesOrder", registration("order-1", quantity=205))
    assert over.code == "CREDIT_LIMIT_EXCEEDED"
    assert (await shop.refused("GetShipment", pb.GetShipmentRequest(order_id="none"))).code == "NOT_FOUND"
    for bad in (
        registration("order 1"),
        registration("order-1", quantity=0),
        registration("order-1", price="1.999"),
        registration("order-1", price="free"),
        registration(""),
    ):
        assert (await shop.refused("RegisterSalesOrder", bad)).code == "INVALID_INPUT"
    many = pb.GetStockLevelsRequest(product_ids=[str(number) for number in range(101)])
    assert (await shop.refused("GetStockLevels", many)).code == "INVALID_INPUT"


async def test_an_admin_lists_every_order_once(erp: Running) -> None:
    """The list for auditing has every order once, page by page, and is for admins only."""
    async with adapter(erp.port) as shop:
        for number in range(5):
            await shop.register(f"order-{number}")
        await shop.ask("CreateShipment", pb.CreateShipmentRequest(order_id="order-0"))
        assert (await shop.refused("ListSalesOrders", pb.ListSalesOrdersRequest())).code == "FORBIDDEN"
    async with adapter(erp.port, caller=("1", "admin")) as admin:
        found, cursor = [], ""
        while True:
            page = await admin.ask("ListSalesOrders", pb.ListSalesOrdersRequest(page_size=2, cursor=cursor))
            found += page.sales_orders
            if not (cursor := page.next_cursor):
                break
        assert [order.order_id for order in found] == [f"order-{number}" for number in range(5)]
        assert [(order.state, order.shipments) for order in found] == [("shipped", 1), *[("open", 0)] * 4]
        assert len((await admin.ask("ListSalesOrders", pb.ListSalesOrdersRequest())).sales_orders) == 5
        bad = await admin.refused("ListSalesOrders", pb.ListSalesOrdersRequest(cursor="x"))
        assert bad.code == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("subject", "role", "code"),
    [("123", "customer", "FORBIDDEN"), ("mailer", "service", "FORBIDDEN"), ("", "", "UNAUTHENTICATED")],
)
async def test_strangers_are_refused(erp: Running, subject: str, role: str, code: str) -> None:
    """A customer, another of our processes and a caller without a token may neither ask nor order."""
    async with adapter(erp.port, caller=(subject, role)) as stranger:
        assert (await stranger.refused("RegisterSalesOrder", registration("order-1"))).code == code
        assert (await stranger.refused("GetStockLevels", pb.GetStockLevelsRequest(product_ids=["42"]))).code == code


async def test_a_session_that_has_ended_is_renewed(moved: TheirSettings) -> None:
    """When the ERP has forgotten our session, the adapter logs in again, and none of its callers notices."""
    async with adapter(moved.port) as shop:
        for _ in range(2):
            with running(moved):
                assert await asyncio.gather(*[shop.levels("42") for _ in range(5)]) == [{"42": 100}] * 5


async def test_a_login_that_is_refused_is_said(erp: Running) -> None:
    """A wrong password is unavailability with a code that says why, not an endless loop."""
    async with adapter(erp.port, legacy_soap_password="wrong") as shop:
        refusal = await shop.refused("GetStockLevels", pb.GetStockLevelsRequest(product_ids=["42"]))
        assert refusal.code == "ERP_LOGIN_REFUSED"


async def test_the_adapter_starts_before_the_erp_and_outlives_it(moved: TheirSettings) -> None:
    """While the ERP is down callers get an error at once; when it is there (again), all works without a restart."""
    request = pb.GetStockLevelsRequest(product_ids=["42"])
    async with adapter(moved.port) as shop:
        down = await shop.refused("GetStockLevels", request)
        assert down.code == "UPSTREAM_UNAVAILABLE"
        assert down.retry_after is not None
        for _ in range(2):
            with running(moved):
                assert await shop.levels("42") == {"42": 100}
            assert (await shop.refused("GetStockLevels", request)).code == "UPSTREAM_UNAVAILABLE"


async def test_a_restart_between_two_calls_is_not_noticed(moved: TheirSettings) -> None:
    """Connections and a session that died with the ERP are replaced within the call that finds them dead."""
    async with adapter(moved.port) as shop:
        with running(moved):
            number = await shop.register("order-1")
        with running(moved):
            assert await shop.register("order-1") == number


async def test_a_slow_erp_costs_no_more_than_the_timeout(erp: Running) -> None:
    """An ERP that does not answer is unavailable after the timeout; a caller with less time gets DEADLINE_EXCEEDED."""
    async with adapter(erp.port, legacy_soap_timeout=1) as shop:
        await asyncio.to_thread(switch_faults, erp.port, delay_ms=60_000)
        began = time.monotonic()
        slow = await asyncio.gather(*[shop.refused("RegisterSalesOrder", registration(f"order-{n}")) for n in range(4)])
        assert {error.code for error in slow} == {"UPSTREAM_UNAVAILABLE"}
        assert time.monotonic() - began < 30
    async with adapter(erp.port) as shop:
        hurried = await shop.refused("GetStockLevels", pb.GetStockLevelsRequest(product_ids=["42"]), within=0.2)
        assert hurried.code == "DEADLINE_EXCEEDED"


async def test_callers_in_a_hurry_do_not_close_the_erp_to_others(erp: Running) -> None:
    """What had hardly any time, or none, does not count against an ERP that has not answered it."""
    login = Login("SHOP", "shop")
    async with soap_client(f"http://127.0.0.1:{erp.port}/", Telemetry("test"), login, budget=20) as client:
        ours = SoapErp(client)
        await asyncio.to_thread(switch_faults, erp.port, delay_ms=500)
        for seconds in [0.01] * 10 + [0.0] * 10:
            with deadline_in(seconds), pytest.raises(ShopError) as caught:
                await ours.shipment("order-1")
            assert caught.value.code == "DEADLINE_EXCEEDED"
        await asyncio.to_thread(switch_faults, erp.port)
        with pytest.raises(ShopError) as caught:
            await ours.shipment("order-1")
        assert caught.value.code == "NOT_FOUND"


async def test_bad_days_of_the_erp_have_codes(shop: Shop, erp: Running) -> None:
    """A maintenance window and an HTML page instead of SOAP are unavailability that says what it is."""
    await shop.levels("42")
    await asyncio.to_thread(switch_faults, erp.port, maintenance=True)
    refusal = await shop.refused("RegisterSalesOrder", registration("order-1"))
    assert (refusal.code, refusal.retry_after) == ("ERP_MAINTENANCE", 10)
    await asyncio.to_thread(switch_faults, erp.port, html_error=True)
    assert (await shop.refused("RegisterSalesOrder", registration("order-1"))).code == "ERP_ANSWER_UNREADABLE"
    await asyncio.to_thread(switch_faults, erp.port)
    assert await shop.register("order-1")


async def test_production_refuses_the_demo_account(tmp_path: Path) -> None:
    """A production configuration with the ERP's demo password does not start."""
    with pytest.raises(ValueError, match="SHOP_LEGACY_SOAP_PASSWORD"):
        async with run(Settings(env="production", data_dir=tmp_path, erp_adapter_port=0, otlp_url="")):
            pass


def test_both_ends_agree_on_the_demo_account() -> None:
    """The ERP's demo account is the one that the adapter uses by default."""
    assert (TheirSettings.user, TheirSettings.password) == (
        Settings().legacy_soap_user,
        Settings().legacy_soap_password,
    )


async def test_a_call_is_one_span_that_says_what_went_over_the_wire(erp: Running) -> None:
    """Each SOAP call is a client span with its operation and bytes; a refusal marks it with the ERP's code."""
    exporter = InMemorySpanExporter()
    telemetry = Telemetry("test", exporter)
    login = Login("SHOP", "shop")
    async with soap_client(f"http://127.0.0.1:{erp.port}/", telemetry, login, budget=5) as client:
        await SoapErp(client).stock_levels(["42"])
        with pytest.raises(ShopError, match="NOT_FOUND"):
            await SoapErp(client).shipment("none")
    telemetry.close()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["SOAP Login", "SOAP GetStockLevel", "SOAP GetShipmentStatus"]
    for span in spans:
        facts = dict(span.attributes or {})
        assert (facts["shop.protocol"], facts["shop.peer"], facts["rpc.system"]) == ("SOAP", "legacy_soap", "soap")
        assert all(isinstance(facts[name], int) for name in ("shop.bytes.sent", "shop.bytes.received"))
    assert (spans[2].attributes or {})["error.type"] == "ERR-045"
