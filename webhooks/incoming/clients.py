"""The shop's services, over gRPC, called as `webhook_worker` itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from chassis.grpc.client import Client
from chassis.grpc.timestamps import timestamp
from protos.shop.catalog.v1.catalog_pb2 import RefreshMaterialRequest
from protos.shop.orders.v1 import orders_pb2 as pb

if TYPE_CHECKING:
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub


class GrpcShop:
    def __init__(
        self,
        orders: OrderServiceAsyncStub,
        orders_client: Client,
        catalog: CatalogServiceAsyncStub,
        catalog_client: Client,
        *,
        channel_user_id: str,
    ) -> None:
        """`channel_user_id`: the account to which sales channels' orders belong."""
        self._orders = orders
        self._orders_client = orders_client
        self._catalog = catalog
        self._catalog_client = catalog_client
        self._channel_user_id = channel_user_id

    async def mark_paid(self, order_id: str, payment_id: str) -> None:
        request = pb.MarkPaidRequest(order_id=order_id, payment_id=payment_id)
        await self._orders_client.call(self._orders.MarkPaid, request)

    async def mark_payment_failed(self, order_id: str, payment_id: str, reason: str) -> None:
        request = pb.MarkPaymentFailedRequest(order_id=order_id, payment_id=payment_id, reason=reason)
        await self._orders_client.call(self._orders.MarkPaymentFailed, request)

    async def place_channel_order(self, channel: str, channel_order_id: str, items: Sequence[tuple[str, int]]) -> None:
        request = pb.PlaceChannelOrderRequest(
            channel=channel,
            channel_order_id=channel_order_id,
            user_id=self._channel_user_id,
            items=[pb.NewItem(product_id=product_id, quantity=quantity) for product_id, quantity in items],
        )
        await self._orders_client.call(self._orders.PlaceChannelOrder, request)

    async def refresh_material(self, product_id: str, event_id: str, refreshed_at: datetime) -> None:
        moment = timestamp(refreshed_at)
        request = RefreshMaterialRequest(product_id=product_id, event_id=event_id, refreshed_at=moment)
        await self._catalog_client.call(self._catalog.RefreshMaterial, request)

    async def record_delivery(self, order_id: str, carrier: str, delivered_at: datetime) -> None:
        moment = timestamp(delivered_at)
        request = pb.RecordDeliveryRequest(order_id=order_id, carrier=carrier, delivered_at=moment)
        await self._orders_client.call(self._orders.RecordDelivery, request)
