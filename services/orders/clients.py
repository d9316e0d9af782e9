"""Catalog, inventory and the ERP over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from chassis.grpc.client import Client
from chassis.grpc.timestamps import timestamp
from protos.shop.catalog.v1.catalog_pb2 import QuoteItem, QuoteItemsRequest
from protos.shop.erp.v1 import erp_pb2 as erp
from protos.shop.inventory.v1 import inventory_pb2 as inventory
from services.orders.domain import Item, Order
from services.orders.ports import Quote

if TYPE_CHECKING:
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceAsyncStub
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub

# No client waits for the saga's calls, so they may take longer than a client would wait.
_SAGA_TIMEOUT = 5.0


class GrpcCatalog:
    def __init__(self, stub: CatalogServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def quote(self, basket: Sequence[tuple[str, int]]) -> Quote:
        items = [QuoteItem(product_id=product_id, quantity=quantity) for product_id, quantity in basket]
        response = await self._client.call(self._stub.QuoteItems, QuoteItemsRequest(items=items))
        return Quote(
            [Item(item.product_id, item.name, item.quantity, Decimal(item.unit_price)) for item in response.items],
            Decimal(response.total),
            response.currency,
        )


class GrpcInventory:
    def __init__(self, stub: InventoryServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def reserve(self, order: Order) -> None:
        items = [inventory.ReservationItem(product_id=item.product_id, quantity=item.quantity) for item in order.items]
        request = inventory.ReserveRequest(order_id=order.id, items=items)
        await self._client.call(self._stub.Reserve, request, timeout=_SAGA_TIMEOUT)

    async def confirm(self, order_id: str) -> None:
        request = inventory.ConfirmRequest(order_id=order_id)
        await self._client.call(self._stub.Confirm, request, timeout=_SAGA_TIMEOUT)

    async def release(self, order_id: str) -> None:
        request = inventory.ReleaseRequest(order_id=order_id)
        await self._client.call(self._stub.Release, request, timeout=_SAGA_TIMEOUT)

    async def ship(self, order_id: str) -> None:
        await self._client.call(self._stub.Ship, inventory.ShipRequest(order_id=order_id), timeout=_SAGA_TIMEOUT)


class GrpcErp:
    def __init__(self, stub: ErpServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def register(self, order: Order) -> None:
        request = erp.RegisterSalesOrderRequest(
            order_id=order.id,
            customer_id=order.user_id,
            items=[
                erp.SalesOrderItem(product_id=item.product_id, quantity=item.quantity, unit_price=str(item.unit_price))
                for item in order.items
            ],
            currency=order.currency,
            placed_at=timestamp(order.placed_at),
        )
        await self._client.call(self._stub.RegisterSalesOrder, request, timeout=_SAGA_TIMEOUT)

    async def cancel(self, order_id: str) -> None:
        request = erp.CancelSalesOrderRequest(order_id=order_id)
        await self._client.call(self._stub.CancelSalesOrder, request, timeout=_SAGA_TIMEOUT)

    async def create_shipment(self, order_id: str) -> str:
        request = erp.CreateShipmentRequest(order_id=order_id)
        response = await self._client.call(self._stub.CreateShipment, request, timeout=_SAGA_TIMEOUT)
        return response.shipment.shipment_number
