"""The composition root of users: the one place that reads settings and builds adapters."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from pydantic import Field

from chassis.auth.identity import TokenVerifier
from chassis.background import forever
from chassis.process import Running
from chassis.service import service
from chassis.settings import AtLeastOne, NotNegative, ProcessSettings
from protos.shop.users.v1.users_pb2_grpc import add_UserServiceServicer_to_server
from services.users.authorization import Authorization
from services.users.demo import DEMO_USERS
from services.users.grpc_api import POLICY, UserApi
from services.users.passwords import Argon2Passwords
from services.users.ports import Passwords
from services.users.sql_store import SqlUserStore
from services.users.tokens import PUBLISHED_FIRST, JwtSigner, SigningKey
from services.users.use_cases import Users

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"

# How often it is looked for keys that are too old or new.
_POLL_SECONDS = 10.0


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
        await _prepare_accounts(store, settings)
        keys = partial(
            store.signing_keys,
            max_age=settings.signing_key_max_age,
            keep=settings.token_lifetime + PUBLISHED_FIRST + _POLL_SECONDS,
        )
        signer = JwtSigner(await keys(), lifetime=settings.token_lifetime)
        users = Users(store, passwords, signer, service_secrets=settings.service_secrets)

        async def own_jwks() -> str:
            return signer.jwks()

        verifier = TokenVerifier(own_jwks)
        authorization = Authorization(store, store, users, signer, verifier)
        await s.background(_rotate(signer, keys))
        port = await s.serve(
            (add_UserServiceServicer_to_server, UserApi(users, authorization)),
            policy=POLICY,
            verifier=verifier,
            port=settings.users_port,
        )
        yield Running(port)


async def _rotate(signer: JwtSigner, keys: Callable[[], Awaitable[list[SigningKey]]]) -> None:
    """Sign with a new key when it is due, and publish those that other copies of this service have made."""

    async def rotate() -> None:
        signer.use(await keys())

    await forever(rotate, name="signing key rotation", every=_POLL_SECONDS, first=_POLL_SECONDS)


async def _prepare_accounts(store: SqlUserStore, settings: Settings) -> None:
    """Load the demo accounts in development; refuse to serve them in production, whatever their source."""
    present = {user.id for user in await store.by_ids([user.id for user in DEMO_USERS])}
    if settings.env == "production" and present:
        message = f"SHOP_ENV=production, but the database holds demo accounts: {', '.join(sorted(present))}"
        raise RuntimeError(message)
    if settings.demo() and len(present) < len(DEMO_USERS):
        await store.add_missing(DEMO_USERS)
