"""shop.users.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import anyone, current_principal, service, signed_in
from chassis.grpc.timestamps import timestamp
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceServicer
from services.users.authorization import Authorization
from services.users.domain import User
from services.users.oauth_clients import Client
from services.users.use_cases import Users

POLICY = {
    "IssueToken": anyone,
    "IssueServiceToken": anyone,
    "GetJwks": anyone,
    "RegisterUser": anyone,
    "GetUsers": signed_in,
    "RegisterClient": anyone,
    "GetClient": anyone,
    "AuthorizeClient": anyone,
    "RedeemCode": anyone,
    "ExchangeToken": service("mcp_server"),
}


class UserApi(UserServiceServicer):
    def __init__(self, use_cases: Users, authorization: Authorization) -> None:
        self._users = use_cases
        self._authorization = authorization

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

    async def RegisterClient(
        self, request: users_pb2.RegisterClientRequest, context: Any
    ) -> users_pb2.RegisterClientResponse:
        client = await self._authorization.register_client(request.name, request.redirect_uris)
        return users_pb2.RegisterClientResponse(client=_client(client))

    async def GetClient(self, request: users_pb2.GetClientRequest, context: Any) -> users_pb2.GetClientResponse:
        client = await self._authorization.client(request.client_id, request.redirect_uri)
        return users_pb2.GetClientResponse(client=_client(client))

    async def AuthorizeClient(
        self, request: users_pb2.AuthorizeClientRequest, context: Any
    ) -> users_pb2.AuthorizeClientResponse:
        code = await self._authorization.authorize(
            request.email,
            request.password,
            client_id=request.client_id,
            redirect_uri=request.redirect_uri,
            challenge=request.code_challenge,
        )
        return users_pb2.AuthorizeClientResponse(code=code)

    async def RedeemCode(self, request: users_pb2.RedeemCodeRequest, context: Any) -> users_pb2.RedeemCodeResponse:
        token, expires_in = await self._authorization.redeem(
            request.code,
            client_id=request.client_id,
            redirect_uri=request.redirect_uri,
            verifier=request.code_verifier,
        )
        return users_pb2.RedeemCodeResponse(access_token=token, expires_in=expires_in)

    async def ExchangeToken(
        self, request: users_pb2.ExchangeTokenRequest, context: Any
    ) -> users_pb2.ExchangeTokenResponse:
        token, expires_in = await self._authorization.exchange(request.access_token)
        return users_pb2.ExchangeTokenResponse(access_token=token, expires_in=expires_in)


def _message(user: User) -> users_pb2.User:
    return users_pb2.User(
        id=user.id, name=user.name, email=user.email, role=user.role, registered_at=timestamp(user.registered_at)
    )


def _client(client: Client) -> users_pb2.Client:
    return users_pb2.Client(
        id=client.id,
        name=client.name,
        redirect_uris=client.redirect_uris,
        registered_at=timestamp(client.registered_at),
    )
