"""The composition root of users: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from pydantic import Field

from chassis.auth.identity import TokenVerifier
from chassis.process import Running
from chassis.service import service
from chassis.settings import AtLeastOne, NotNegative, ProcessSettings
from protos.shop.users.v1.users_pb2_grpc import add_UserServiceServicer_to_server
from services.users.authorization import Authorization
from services.users.demo import prepare_accounts
from services.users.grpc_api import POLICY, UserApi
from services.users.passwords import Argon2Passwords
from services.users.ports import Passwords
from services.users.sql_store import SqlUserStore
from services.users.tokens import POLL_SECONDS, PUBLISHED_FIRST, JwtSigner, rotate
from services.users.use_cases import Users

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    users_port: int = 50051
    # Seconds until a token expires.
    token_lifetime: AtLeastOne = 900
    # Seconds after which tokens are signed with a new key.
    signing_key_max_age: NotNegative = 30 * 86_400.0
    # JSON object {process: secret}: the secrets that processes show for their own access tokens.
    service_secrets: dict[str, str] = Field(default_factory=dict)


@asynccontextmanager
async def run(settings: Settings | None = None, *, passwords: Passwords | None = None) -> AsyncIterator[Running]:
    """Serve shop.users.v1 until the block ends."""
    settings = settings or Settings()
    passwords = passwords or Argon2Passwords()
    async with service("users", settings) as s:
        store = SqlUserStore(await s.database("users", MIGRATIONS))
        await prepare_accounts(store, production=settings.env == "production", demo=settings.demo())
        keys = partial(
            store.signing_keys,
            max_age=settings.signing_key_max_age,
            keep=settings.token_lifetime + PUBLISHED_FIRST + POLL_SECONDS,
        )
        signer = JwtSigner(await keys(), lifetime=settings.token_lifetime)
        users = Users(store, passwords, signer, service_secrets=settings.service_secrets)

        async def own_jwks() -> str:
            return signer.jwks()

        verifier = TokenVerifier(own_jwks)
        authorization = Authorization(store, store, users, signer, verifier)
        await s.background(rotate(signer, keys))
        port = await s.serve(
            (add_UserServiceServicer_to_server, UserApi(users, authorization)),
            policy=POLICY,
            verifier=verifier,
            port=settings.users_port,
        )
        yield Running(port)
