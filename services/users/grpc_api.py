"""shop.users.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import anyone, current_principal, service, signed_in
from chassis.grpc.timestamps import timestamp
from protos.shop.users.v1 import users_pb2 as pb
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

    async def IssueToken(self, request: pb.IssueTokenRequest, context: Any) -> pb.IssueTokenResponse:
        token, expires_in = await self._users.issue_token(request.email, request.password)
        return pb.IssueTokenResponse(access_token=token, expires_in=expires_in)

    async def IssueServiceToken(
        self, request: pb.IssueServiceTokenRequest, context: Any
    ) -> pb.IssueServiceTokenResponse:
        token, expires_in = self._users.issue_service_token(request.service, request.secret)
        return pb.IssueServiceTokenResponse(access_token=token, expires_in=expires_in)

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.GetJwksResponse:
        return pb.GetJwksResponse(jwks_json=self._users.jwks())

    async def RegisterUser(self, request: pb.RegisterUserRequest, context: Any) -> pb.RegisterUserResponse:
        user = await self._users.register(request.name, request.email, request.password)
        return pb.RegisterUserResponse(user=_message(user))

    async def GetUsers(self, request: pb.GetUsersRequest, context: Any) -> pb.GetUsersResponse:
        found = await self._users.users(request.ids, current_principal())
        return pb.GetUsersResponse(users=[_message(user) for user in found])

    async def RegisterClient(self, request: pb.RegisterClientRequest, context: Any) -> pb.RegisterClientResponse:
        client = await self._authorization.register_client(request.name, request.redirect_uris)
        return pb.RegisterClientResponse(client=_client(client))

    async def GetClient(self, request: pb.GetClientRequest, context: Any) -> pb.GetClientResponse:
        client = await self._authorization.client(request.client_id, request.redirect_uri)
        return pb.GetClientResponse(client=_client(client))

    async def AuthorizeClient(self, request: pb.AuthorizeClientRequest, context: Any) -> pb.AuthorizeClientResponse:
        code = await self._authorization.authorize(
            request.email,
            request.password,
            client_id=request.client_id,
            redirect_uri=request.redirect_uri,
            challenge=request.code_challenge,
        )
        return pb.AuthorizeClientResponse(code=code)

    async def RedeemCode(self, request: pb.RedeemCodeRequest, context: Any) -> pb.RedeemCodeResponse:
        token, expires_in = await self._authorization.redeem(
            request.code,
            client_id=request.client_id,
            redirect_uri=request.redirect_uri,
            verifier=request.code_verifier,
        )
        return pb.RedeemCodeResponse(access_token=token, expires_in=expires_in)

    async def ExchangeToken(self, request: pb.ExchangeTokenRequest, context: Any) -> pb.ExchangeTokenResponse:
        token, expires_in = await self._authorization.exchange(request.access_token)
        return pb.ExchangeTokenResponse(access_token=token, expires_in=expires_in)


def _message(user: User) -> pb.User:
    return pb.User(
        id=user.id, name=user.name, email=user.email, role=user.role, registered_at=timestamp(user.registered_at)
    )


def _client(client: Client) -> pb.Client:
    return pb.Client(
        id=client.id,
        name=client.name,
        redirect_uris=client.redirect_uris,
        registered_at=timestamp(client.registered_at),
    )
