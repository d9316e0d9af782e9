"""Users, over gRPC, asked as `mailer` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chassis.rpc import Client
from protos.shop.users.v1.users_pb2 import GetUsersRequest
from services.mailer.domain import Customer

if TYPE_CHECKING:
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub


class GrpcCustomers:
    def __init__(self, stub: UserServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def by_id(self, user_id: str) -> Customer | None:
        response = await self._client.call(self._stub.GetUsers, GetUsersRequest(ids=[user_id]))
        return next((Customer(user.name, user.email) for user in response.users), None)
