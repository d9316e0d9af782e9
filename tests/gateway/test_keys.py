from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import jwt
import pytest

from gateway import bootstrap as gateway
from services.users import bootstrap as users
from services.users import tokens
from services.users.sql_store import SqlUserStore
from tests.contract.databases import opened, url_of
from tests.shop import free_ports
from tests.waiting import eventually

SIGN_IN = {"username": "demo@shop.test", "password": "demo"}


async def token_of(client: httpx.AsyncClient) -> str:
    response = await client.post("/v1/auth/token", data=SIGN_IN)
    response.raise_for_status()
    token: str = response.json()["access_token"]
    return token


def key_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def whoami(client: httpx.AsyncClient, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return (await client.get("/v1/users/me", headers=headers)).status_code


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Callable[..., users.Settings]]]:
    """A gateway in front of a users service that is yet to be started, and that service's settings."""
    port = free_ports(1)[0]

    def settings(**more: float) -> users.Settings:
        return users.Settings(users_port=port, otlp_url="", data_dir=tmp_path, **more)  # type: ignore[arg-type]

    own = gateway.Settings(
        gateway_port=0,
        otlp_url="",
        data_dir=tmp_path,
        users_address=f"127.0.0.1:{port}",
        edge_cache_bytes=0,
        sign_in_rate_limit="1000/minute",
        request_budget=30,
        call_timeout=15,
    )
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(gateway.run(own))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=60)
        )
        yield client, settings


async def test_new_key_after_a_restart_of_users(
    edge: tuple[httpx.AsyncClient, Callable[..., users.Settings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once users signs with a new key, one and the same gateway accepts its tokens and those of the old key."""
    client, settings = edge
    monkeypatch.setattr(tokens, "PUBLISHED_FIRST", 0.0)
    async with users.run(settings()):
        old = await token_of(client)
        assert await whoami(client, old) == 200
    async with users.run(settings(signing_key_max_age=0)):
        new = await eventually(lambda: token_of(client))
        assert key_of(new) != key_of(old)
        # A gateway fetches the keys again at most every five seconds.
        await eventually(lambda: _accepted(client, new), within=60)
        assert await whoami(client, old) == 200
        keys = (await client.get("/.well-known/jwks.json")).json()["keys"]
        assert {key_of(old), key_of(new)} <= {key["kid"] for key in keys}


async def test_new_key_without_any_restart(
    edge: tuple[httpx.AsyncClient, Callable[..., users.Settings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running users service changes its key by itself when it is too old."""
    client, settings = edge
    monkeypatch.setattr(tokens, "PUBLISHED_FIRST", 0.0)
    monkeypatch.setattr(tokens, "POLL_SECONDS", 0.1)
    async with users.run(settings(signing_key_max_age=2)):
        old = await token_of(client)

        async def another() -> bool:
            return key_of(await token_of(client)) != key_of(old)

        await eventually(another)
        assert await whoami(client, old) == 200


async def _accepted(client: httpx.AsyncClient, token: str) -> bool:
    return await whoami(client, token) == 200


def test_key_is_published_before_it_signs() -> None:
    """A key that was just made is published, and signs nothing until every process can have it."""
    new, old = tokens.new_signing_key(), tokens.SigningKey("old", b"0" * 32, made_at=1.0)
    signer = tokens.JwtSigner([new, old], lifetime=60)
    assert new.id in signer.jwks()
    assert key_of(signer.sign("u", "customer")[0]) == "old"
    signer.use([tokens.SigningKey(new.id, new.seed, made_at=2.0), old])
    assert key_of(signer.sign("u", "customer")[0]) == new.id


async def test_keys_are_forgotten(tmp_path: Path) -> None:
    """A key is forgotten once nothing that it signed can be valid, and not before."""
    async with opened("users", url_of("users", "", tmp_path)) as database:
        store = SqlUserStore(database)
        first = await store.signing_keys()
        second = await store.signing_keys(max_age=-1, keep=60)
        assert [key.id for key in second[1:]] == [key.id for key in first]
        third = await store.signing_keys(max_age=-1, keep=-1)
        assert first[0] not in third
