"""shop.users.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import anyone, current_principal, signed_in
from chassis.grpc.timestamps import timestamp
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceServicer
from services.users.domain import User
from services.users.use_cases import Users

POLICY = {
    "IssueToken": anyone,
    "IssueServiceToken": anyone,
    "GetJwks": anyone,
    "RegisterUser": anyone,
    "GetUsers": signed_in,
}


class UserApi(UserServiceServicer):
    def __init__(self, use_cases: Users) -> None:
        self._users = use_cases

    async def IssueToken(self, request: users_pb2.IssueTokenRequest, context: Any) -> users_pb2.IssueTokenResponse:
        token, expires_in = await self._users.issue_token(request.email, request.password)
        return users_pb2.IssueTokenResponse(access_token=token, expires_in=expires_in)

    async def IssueServiceToken(
        self, request: users_pb2.IssueServiceTokenRequest, context: Any
    ) -> users_pb2.IssueServiceTokenResponse:
        token, expires_in = self._users.issue_service_token(request.service, request.secret)
        return users_pb2.IssueServiceTokenResponse(access_token=token, expires_in=expires_in)

    async def GetJwks(self, request: users_pb2.GetJwksRequest, context: Any) -> users_pb2.GetJwksResponse:
        return users_pb2.GetJwksResponse(jwks_json=self._users.jwks())

    async def RegisterUser(
        self, request: users_pb2.RegisterUserRequest, context: Any
    ) -> users_pb2.RegisterUserResponse:
        user = await self._users.register(request.name, request.email, request.password)
        return users_pb2.RegisterUserResponse(user=_message(user))

    async def GetUsers(self, request: users_pb2.GetUsersRequest, context: Any) -> users_pb2.GetUsersResponse:
        found = await self._users.users(request.ids, current_principal())
        return users_pb2.GetUsersResponse(users=[_message(user) for user in found])


def _message(user: User) -> users_pb2.User:
    return users_pb2.User(
        id=user.id, name=user.name, email=user.email, role=user.role, registered_at=timestamp(user.registered_at)
    )
