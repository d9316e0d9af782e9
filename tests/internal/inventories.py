"""Inventory on a free port, with a fake ERP, as scanners and the saga see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
from grpc.aio import AioRpcError

from chassis.errors import Kind, ShopError, unavailable
from chassis.grpc.client import connect
from chassis.grpc.errors import error_from
from protos.shop.inventory.v1 import inventory_pb2 as pb
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from services.inventory.bootstrap import Settings, run
from services.inventory.domain import Adjustment
from tests.legacy.identity import stub_users, token_for
from tests.shop import free_ports

if TYPE_CHECKING:
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub


class FakeErp:
    """Books each adjustment, once per id; while `away` it does not answer, and `refuses` some ids for good."""

    def __init__(self) -> None:
        self.booked: dict[str, Adjustment] = {}
        self.away = False
        self.refuses: set[str] = set()
        self.asked = 0

    async def stock_levels(self, product_ids: Sequence[str], *, long_timeout: bool = False) -> Mapping[str, int]:
        if self.away:
            raise unavailable("the ERP")
        return dict.fromkeys(product_ids, 1_000_000)

    async def book(self, adjustment: Adjustment) -> None:
        self.asked += 1
        if self.away:
            raise unavailable("the ERP")
        if adjustment.id in self.refuses:
            raise ShopError("REFERENCE_REUSED", "taken", Kind.PRECONDITION)
        self.booked.setdefault(adjustment.id, adjustment)


class Inventory:
    """A running inventory, called as this subject and role."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self.address = address
        self.stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)

    async def call(self, method: str, request: Any, *, subject: str = "order_worker", role: str = "service") -> Any:
        try:
            return await getattr(self.stub, method)(request, metadata=signed(subject, role), timeout=20)
        except AioRpcError as error:
            raise error_from(error, "inventory") from error

    async def reserve(self, order_id: str, product_id: str = "42", quantity: int = 1) -> None:
        items = [pb.ReservationItem(product_id=product_id, quantity=quantity)]
        await self.call("Reserve", pb.ReserveRequest(order_id=order_id, items=items))

    async def figures(self, product_id: str = "42") -> tuple[int, int, int]:
        """Available, reserved, shipped."""
        page = await self.call("ListStock", pb.ListStockRequest(), subject="1", role="admin")
        stock = next(each for each in page.stock if each.product_id == product_id)
        assert stock.available + stock.reserved + stock.shipped == stock.received
        return stock.available, stock.reserved, stock.shipped

    async def reservation(self, order_id: str) -> pb.Reservation:
        page = await self.call("ListReservations", pb.ListReservationsRequest(), subject="1", role="admin")
        found: pb.Reservation = next(each for each in page.reservations if each.order_id == order_id)
        return found


def signed(subject: str = "1", role: str = "admin") -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token_for(subject, role)}")]


Start = Callable[..., AbstractAsyncContextManager[Inventory]]


def starter(data_dir: Path, database_url: str, erp: FakeErp) -> Start:
    """Starts inventory, as often as wanted, on the same state."""

    (port,) = free_ports(1)

    @asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[Inventory]:
        async with stub_users() as users_address:
            own = Settings(
                data_dir=data_dir,
                database_url=database_url,
                inventory_port=port,
                users_address=users_address,
                otlp_url="",
                **{"demo_data": True, **settings},
            )
            address = f"127.0.0.1:{port}"
            async with connect(address) as channel, run(own, erp=erp):
                yield Inventory(channel, address)

    return started
