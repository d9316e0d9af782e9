"""What a service does while those it needs are away, with real connections to closed ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from chassis.errors import ShopError
from protos.shop.catalog.v1 import catalog_pb2
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1 import orders_pb2
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from services.catalog import bootstrap as catalog
from services.inventory import bootstrap as inventory
from services.orders import bootstrap as orders
from tests.services.conftest import FakeCatalog, fake_users, reached
from tests.shop import free_ports
from tests.waiting import eventually

T = TypeVar("T")

TIMEOUT = 2.0  # what the gateway gives its upstreams


async def in_time(call: Callable[[], Awaitable[T]]) -> T:
    """What a call returned that took no longer than the gateway waits; a busy machine may be late now and then."""

    async def answered() -> T | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await call()
        except TimeoutError:
            return None

    return await eventually(answered)


def nobody() -> str:
    """An address at which no process listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


async def test_service_starts_without_users_and_recovers(tmp_path: Path) -> None:
    """Without users no token can be verified, and the error says so; once users is there, all goes on."""
    (port,) = free_ports(1)
    settings = orders.Settings(
        data_dir=tmp_path, otlp_url="", demo_data=False, users_address=f"127.0.0.1:{port}", orders_port=0
    )
    request = orders_pb2.PlaceOrderRequest(items=[orders_pb2.NewItem(product_id="42", quantity=1)])
    async with (
        orders.run(settings, catalog=FakeCatalog()) as running,
        reached(OrderServiceStub, running.port) as service,
    ):
        caller = service.as_("u1")
        refusal = await caller.refusal("PlaceOrder", request)
        assert (refusal.code, refusal.details) == ("UPSTREAM_UNAVAILABLE", {"upstream": "users"})
        assert (refusal.retry_after or 0) > 0

        async def placed() -> bool:
            answers = await asyncio.gather(caller.call("PlaceOrder", request), return_exceptions=True)
            return not isinstance(answers[0], ShopError)

        async with fake_users(port):
            assert await eventually(placed)
        assert await placed()  # users is gone again, and its keys are known


async def test_quote_without_inventory_is_in_time(common: dict[str, Any]) -> None:
    """With no process at inventory's address a basket is priced without availability, well within the caller's time."""
    settings = catalog.Settings(**common | {"demo_data": True}, catalog_port=0, inventory_address=nobody())
    request = catalog_pb2.QuoteItemsRequest(items=[catalog_pb2.QuoteItem(product_id="42", quantity=1)])
    async with catalog.run(settings) as running, reached(CatalogServiceStub, running.port) as service:
        for _ in range(3):
            quoted = await in_time(lambda: service.as_("u1").call("QuoteItems", request))
            assert quoted.total == "89.00"
            assert not quoted.items[0].HasField("available")


async def test_availability_without_the_erp_is_stale_and_in_time(common: dict[str, Any]) -> None:
    """With no process at the ERP adapter's address the last known figure is answered, marked stale, in time."""
    settings = inventory.Settings(**common | {"demo_data": True}, inventory_port=0, erp_adapter_address=nobody())
    request = inventory_pb2.CheckAvailabilityRequest(product_ids=["7"], live=True)
    async with inventory.run(settings) as running, reached(InventoryServiceStub, running.port) as service:
        (item,) = (await in_time(lambda: service.as_().call("CheckAvailability", request))).items
        assert (item.available, item.stale) == (3, True)


async def test_order_is_refused_for_now_without_the_catalogue(common: dict[str, Any]) -> None:
    """With no process at the catalogue's address an order is UNAVAILABLE, in time, with the time to come again."""
    settings = orders.Settings(**common, orders_port=0, catalog_address=nobody())
    request = orders_pb2.PlaceOrderRequest(items=[orders_pb2.NewItem(product_id="42", quantity=1)])
    async with orders.run(settings) as running, reached(OrderServiceStub, running.port) as service:
        refusal = await in_time(lambda: service.as_("u1").refusal("PlaceOrder", request))
        assert (refusal.code, refusal.details) == ("UPSTREAM_UNAVAILABLE", {"upstream": "catalog"})
        assert (refusal.retry_after or 0) > 0
