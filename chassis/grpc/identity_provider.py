"""Client of `users` as identity provider: verification keys, and service tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING

from chassis.auth.identity import ServiceToken, TokenVerifier, no_token
from chassis.auth.tls import Tls
from chassis.errors import Kind, ShopError
from chassis.grpc.client import Client, connect
from chassis.observability.tracing import Telemetry
from protos.shop.users.v1.users_pb2 import GetJwksRequest, IssueServiceTokenRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub


class IdentityProvider:
    """Calls `users` in a context of its own: no trace, deadline or caller of the request that happens to wait."""

    def __init__(self, users: UserServiceAsyncStub, client: Client) -> None:
        self._users = users
        self._client = client
        self.verifier = TokenVerifier(self._jwks)

    async def _jwks(self) -> str:
        call = self._client.call(self._users.GetJwks, GetJwksRequest())
        return (await asyncio.create_task(call, context=Context())).jwks_json

    def service_token(self, service: str, secret: str) -> ServiceToken:
        """A source of tokens for the process that can show this secret."""

        async def issue() -> tuple[str, float]:
            request = IssueServiceTokenRequest(service=service, secret=secret)
            call = self._client.call(self._users.IssueServiceToken, request)
            try:
                response = await asyncio.create_task(call, context=Context())
            except ShopError as error:
                if error.kind is not Kind.UNAUTHENTICATED:
                    raise
                # Our own credentials are wrong: that is no news for our caller, and not its mistake.
                raise ShopError(
                    "SERVICE_NOT_RECOGNISED", f"users does not recognise {service}", Kind.INTERNAL
                ) from error
            return response.access_token, float(response.expires_in)

        return ServiceToken(issue)


@asynccontextmanager
async def identity_provider(
    users_address: str, telemetry: Telemetry, *, tls: Tls | None = None, timeout: float = 2.0
) -> AsyncIterator[IdentityProvider]:
    """The identity provider at an address; it is not called before it is needed."""
    async with connect(users_address, idempotent=["shop.users.v1.UserService"], tls=tls) as channel:
        client = Client("users", telemetry, token=no_token, timeout=timeout)
        yield IdentityProvider(UserServiceStub(channel), client)
