"""Users, over gRPC, called as `mailer` itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chassis.grpc.client import Client
from chassis.resilience.request_coalescing import CoalescedReads
from protos.shop.users.v1.users_pb2 import GetUsersRequest
from services.mailer.domain import Customer

if TYPE_CHECKING:
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub


# Seconds for which an account is kept: an order's mails often follow one another at once.
_KEEP = 10.0


class GrpcCustomers:
    """Customers that are wanted at the same time are requested together."""

    def __init__(self, stub: UserServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client
        self._reads = CoalescedReads("users", self._read, keep=_KEEP)

    async def by_id(self, user_id: str) -> Customer | None:
        return (await self._reads.get([user_id])).get(user_id)

    async def _read(self, user_ids: Sequence[str]) -> dict[str, Customer]:
        response = await self._client.call(self._stub.GetUsers, GetUsersRequest(ids=user_ids))
        return {user.id: Customer(user.name, user.email) for user in response.users}
