"""Catalog, inventory and the ERP over gRPC; the payment provider over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx

from chassis.errors import Kind, ShopError, timed_out, unavailable
from chassis.rpc import Client
from chassis.telemetry import SpanKind, Telemetry, current_traceparent
from chassis.wire import timestamp
from protos.shop.catalog.v1.catalog_pb2 import QuoteItem, QuoteItemsRequest
from protos.shop.erp.v1 import erp_pb2
from protos.shop.inventory.v1 import inventory_pb2
from services.orders.domain import Item, Order
from services.orders.ports import Quote

if TYPE_CHECKING:
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceAsyncStub
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub

# Nobody waits for the saga's calls, so they may take longer than a client would.
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
        items = [
            inventory_pb2.ReservationItem(product_id=item.product_id, quantity=item.quantity) for item in order.items
        ]
        request = inventory_pb2.ReserveRequest(order_id=order.id, items=items)
        await self._client.call(self._stub.Reserve, request, timeout=_SAGA_TIMEOUT)

    async def confirm(self, order_id: str) -> None:
        request = inventory_pb2.ConfirmRequest(order_id=order_id)
        await self._client.call(self._stub.Confirm, request, timeout=_SAGA_TIMEOUT)

    async def release(self, order_id: str) -> None:
        request = inventory_pb2.ReleaseRequest(order_id=order_id)
        await self._client.call(self._stub.Release, request, timeout=_SAGA_TIMEOUT)

    async def ship(self, order_id: str) -> None:
        await self._client.call(self._stub.Ship, inventory_pb2.ShipRequest(order_id=order_id), timeout=_SAGA_TIMEOUT)


class GrpcErp:
    def __init__(self, stub: ErpServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def register(self, order: Order) -> None:
        request = erp_pb2.RegisterSalesOrderRequest(
            order_id=order.id,
            customer_id=order.user_id,
            items=[
                erp_pb2.SalesOrderItem(
                    product_id=item.product_id, quantity=item.quantity, unit_price=str(item.unit_price)
                )
                for item in order.items
            ],
            currency=order.currency,
            placed_at=timestamp(order.placed_at),
        )
        await self._client.call(self._stub.RegisterSalesOrder, request, timeout=_SAGA_TIMEOUT)

    async def cancel(self, order_id: str) -> None:
        request = erp_pb2.CancelSalesOrderRequest(order_id=order_id)
        await self._client.call(self._stub.CancelSalesOrder, request, timeout=_SAGA_TIMEOUT)

    async def create_shipment(self, order_id: str) -> str:
        request = erp_pb2.CreateShipmentRequest(order_id=order_id)
        response = await self._client.call(self._stub.CreateShipment, request, timeout=_SAGA_TIMEOUT)
        return response.shipment.shipment_number


class HttpPayments:
    """The payment provider's API, in the form that Stripe gave such APIs."""

    def __init__(self, http: httpx.AsyncClient, telemetry: Telemetry) -> None:
        """`http` knows the provider's base URL."""
        self._http = http
        self._telemetry = telemetry

    async def request(self, order: Order) -> str:
        body = {
            "amount": int(order.total * 100),
            "currency": order.currency.lower(),
            "metadata": {"order_id": order.id},
        }
        # The order's id as idempotency key: however often the saga is repeated, there is one payment.
        response = await self._call("POST", "/v1/payment_intents", json=body, headers={"Idempotency-Key": order.id})
        if response.status_code == httpx.codes.PAYMENT_REQUIRED:
            raise ShopError("PAYMENT_DECLINED", "the payment was declined", Kind.PRECONDITION)
        return str(_accepted(response)["id"])

    async def cancel(self, order_id: str) -> None:
        response = await self._call("GET", "/v1/payment_intents", params={"order_id": order_id})
        for payment in _accepted(response)["data"]:
            _accepted(await self._call("POST", f"/v1/payment_intents/{payment['id']}/cancel"))

    async def _call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **content: Any
    ) -> httpx.Response:
        with self._telemetry.span(
            f"{method} {path}",
            SpanKind.CLIENT,
            protocol="HTTP",
            peer="payment_provider",
            attributes={"http.request.method": method},
        ) as span:
            carried = {"traceparent": current_traceparent(), **(headers or {})}
            try:
                response = await self._http.request(method, path, headers=carried, **content)
            except httpx.TimeoutException as error:
                raise timed_out("payment_provider") from error
            except httpx.TransportError as error:
                raise unavailable("payment_provider") from error
            span.set_attribute("http.response.status_code", response.status_code)
            span.set_attribute("shop.bytes.sent", len(response.request.content))
            span.set_attribute("shop.bytes.received", len(response.content))
            return response


def _accepted(response: httpx.Response) -> Any:
    if response.is_success:
        return response.json()
    if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise unavailable("payment_provider")
    message = f"the payment provider answered {response.status_code}: {response.text[:200]}"
    raise ShopError("PAYMENT_REFUSED", message, Kind.INTERNAL)
