"""Orders and users, over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from chassis.errors import not_found
from chassis.grpc.client import Client
from chassis.resilience.request_coalescing import CoalescedReads
from protos.shop.orders.v1.orders_pb2 import GetOrderRequest
from protos.shop.users.v1.users_pb2 import GetUsersRequest
from services.storage.invoices.invoice import Invoice, InvoiceLine

if TYPE_CHECKING:
    from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub

# Seconds.
_TIMEOUT = 5.0
_NAME_TTL = 10.0


class GrpcPaidOrders:
    def __init__(
        self, orders: OrderServiceAsyncStub, orders_client: Client, users: UserServiceAsyncStub, users_client: Client
    ) -> None:
        self._orders = orders
        self._orders_client = orders_client
        self._users = users
        self._users_client = users_client
        self._names = CoalescedReads("users", self._read_names, keep=_NAME_TTL)

    async def invoice(self, order_id: str, payment_id: str, paid_at: datetime) -> Invoice:
        request = GetOrderRequest(id=order_id)
        order = (await self._orders_client.call(self._orders.GetOrder, request, timeout=_TIMEOUT)).order
        return Invoice(
            order_id=order.id,
            user_id=order.user_id,
            customer=await self._name(order.user_id),
            lines=[InvoiceLine(item.name, item.quantity, Decimal(item.unit_price)) for item in order.items],
            total=Decimal(order.total),
            currency=order.currency,
            placed_at=order.placed_at.ToDatetime(tzinfo=UTC),
            paid_at=paid_at,
            payment_id=payment_id,
        )

    async def _name(self, user_id: str) -> str:
        names = await self._names.get([user_id])
        if user_id not in names:
            raise not_found("user", user_id)
        return names[user_id]

    async def _read_names(self, user_ids: Sequence[str]) -> dict[str, str]:
        request = GetUsersRequest(ids=user_ids)
        users = (await self._users_client.call(self._users.GetUsers, request, timeout=_TIMEOUT)).users
        return {user.id: user.name for user in users}
