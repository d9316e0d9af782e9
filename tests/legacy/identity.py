"""A stub of users: it serves the public half of a key, and tests sign tokens with the other half."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from chassis.auth.identity import ALGORITHM, AUDIENCE, ISSUER
from protos.shop.users.v1.users_pb2 import GetJwksRequest, GetJwksResponse
from protos.shop.users.v1.users_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server

KEY = Ed25519PrivateKey.generate()


def token_for(subject: str, role: str) -> str:
    """A token that is good for a minute; none for a caller without a role."""
    if not role:
        return ""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "role": role, "iat": now, "exp": now + 60}
    return jwt.encode(claims, KEY, ALGORITHM, headers={"kid": "test"})


class StubUsers(UserServiceServicer):
    """Answers GetJwks."""

    async def GetJwks(self, request: GetJwksRequest, context: Any) -> GetJwksResponse:  # noqa: N802 - gRPC's name
        key = OKPAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "test", "alg": ALGORITHM, "use": "sig"}
        return GetJwksResponse(jwks_json=json.dumps({"keys": [key]}))


@asynccontextmanager
async def stub_users() -> AsyncIterator[str]:
    """The stub, listening; its address."""
    server = grpc.aio.server()
    add_UserServiceServicer_to_server(StubUsers(), server)  # type: ignore[abstract] # it implements what the test calls, no more
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
