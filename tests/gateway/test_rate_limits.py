from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from gateway import rate_limit_storage as windows_room
from gateway.rate_limit_storage import MemoryStorage, RateLimitStorage, rate_limit_storage
from tests.conftest import REDIS_URL
from tests.gateway.conftest import StartShop
from tests.waiting import eventually

BOTH = ["memory", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture
def key() -> str:
    """A key of this test's own."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture(params=BOTH)
async def counts(
    request: pytest.FixtureRequest, key: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RateLimitStorage]:
    """Storage of each kind in turn; with time for a Redis on a busy machine, in which nothing of `key` is left."""
    if request.param == "memory":
        yield MemoryStorage()
        return
    monkeypatch.setattr(windows_room, "_TIMEOUT", 10.0)
    async with rate_limit_storage(REDIS_URL) as found, Redis.from_url(REDIS_URL) as redis:
        yield found
        async for name in redis.scan_iter(f"shop:rate:*{key}*"):
            await redis.delete(name)


async def test_memory_is_the_default() -> None:
    """Without a URL the counts are in this process's memory."""
    async with rate_limit_storage("") as found:
        assert isinstance(found, MemoryStorage)


async def test_hits_are_counted(counts: RateLimitStorage, key: str) -> None:
    """A window counts its hits, each once, however many come at once, and says when it ends."""
    found = await asyncio.gather(*(counts.hit(key, 60) for _ in range(50)))
    assert sorted(count for count, _ in found) == list(range(1, 51))
    assert all(30 < left <= 60 for _, left in found)


async def test_keys_are_apart(counts: RateLimitStorage, key: str) -> None:
    """What one key is hit does not count against another."""
    await counts.hit(key, 60)
    assert (await counts.hit(f"{key}-other", 60))[0] == 1


async def test_window_ends(counts: RateLimitStorage, key: str) -> None:
    """A window that has ended counts no more."""
    first = await counts.hit(key, 1)

    async def begins_again() -> bool:
        return (await counts.hit(key, 1))[0] == 1

    assert first[0] == 1
    await eventually(begins_again)


async def test_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients come, only so many are remembered: the oldest are forgotten."""
    monkeypatch.setattr(windows_room, "_MAX_WINDOWS", 3)
    counts = MemoryStorage()
    for key in "abcd":
        await counts.hit(key, 60)
    assert [(await counts.hit(key, 60))[0] for key in "dcba"] == [2, 2, 2, 1]


async def test_foreign_scheme() -> None:
    """A place for the counts that is none stops the process at its start."""
    with pytest.raises(ValueError, match="scheme"):
        async with rate_limit_storage("memcached://127.0.0.1"):
            pass


@pytest.mark.redis
async def test_gateways_share(start_shop: StartShop, key: str) -> None:
    """Two gateways with one Redis have one limit."""
    # All clients have one address here, so the quota's own length keeps this test's windows apart.
    limits = {"rate_limit_url": REDIS_URL, "client_rate_limit": f"3/{70_000 + int(key[-4:], 16)} seconds"}
    async with AsyncExitStack() as stack:
        shops = [await stack.enter_async_context(start_shop(**limits)) for _ in range(2)]
        statuses = [(await shop.client.get("/v1/products/42")).status_code for _ in range(2) for shop in shops]
        async with Redis.from_url(REDIS_URL) as redis:
            seconds = shops[0].settings.client_rate_limit.split("/")[1].split()[0]
            await redis.delete(f"shop:rate:client:{seconds}:127.0.0.1")
    assert statuses == [200, 200, 200, 429]


async def test_redis_away(start_shop: StartShop, caplog: pytest.LogCaptureFixture) -> None:
    """Without its Redis a gateway goes on, counts by itself, says so once, and makes no request wait for it."""
    async with start_shop(rate_limit_url="redis://127.0.0.1:1", client_rate_limit="20/minute") as shop:
        with caplog.at_level(logging.WARNING):
            statuses = [(await shop.client.get("/v1/products/42")).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    assert sum("counted in memory" in record.message for record in caplog.records) == 1


@pytest.mark.usefixtures("breakers_stay_open")
async def test_redis_silent(start_shop: StartShop) -> None:
    """A Redis that accepts and does not answer costs a few requests a tenth of a second, and the others nothing."""
    waited = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waited
        waited += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with start_shop(rate_limit_url=f"redis://127.0.0.1:{port}") as shop, asyncio.timeout(30):
        for _ in range(30):
            assert (await shop.client.get("/v1/products/42")).status_code == 200
        assert 1 <= waited <= 3
    server.close()


async def test_rate_limit_told(start_shop: StartShop) -> None:
    """Each response shows the quotas that it counted against, and what is left of them."""
    async with start_shop(client_rate_limit="10/minute", user_rate_limit="5/minute") as shop:
        headers = await shop.signed_in()
        response = await shop.client.get("/v1/users/me", headers=headers)
    assert response.headers.get_list("ratelimit-policy") == ['"user";q=5;w=60', '"client";q=10;w=60']
    told = response.headers.get_list("ratelimit")
    assert [re.sub(r"t=\d+", "t=?", each) for each in told] == ['"user";r=4;t=?', '"client";r=8;t=?']


async def test_client_limited(start_shop: StartShop) -> None:
    """A client over its limit gets a 429 problem that says when to come back, and costs no upstream anything."""
    async with start_shop(client_rate_limit="2/minute") as shop:
        statuses = [(await shop.client.get("/v1/products/42")).status_code for _ in range(2)]
        response = await shop.client.get("/v1/products/42")
        assert (await shop.client.get("/healthz")).status_code == 200
    assert [*statuses, response.status_code] == [200, 200, 429]
    assert response.json()["code"] == "RATE_LIMITED"
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert f";t={response.headers['retry-after']}" in response.headers["ratelimit"]
    assert "traceparent" in response.headers
    assert len(shop.catalog.behaviour.requests) == 2


async def test_user_limited(start_shop: StartShop) -> None:
    """A user over their limit does not use up another's."""
    async with start_shop(user_rate_limit="1/minute") as shop:
        demo, admin = await shop.signed_in(), await shop.admin()
        statuses = [
            (await shop.client.get("/v1/users/me", headers=headers)).status_code for headers in (demo, demo, admin)
        ]
    assert statuses == [200, 429, 200]


async def test_guessing_limited(start_shop: StartShop) -> None:
    """Attempts to sign in have a limit of their own."""
    async with start_shop(sign_in_rate_limit="1/minute") as shop:
        form = {"username": "demo@shop.test", "password": "guess"}
        statuses = [(await shop.client.post("/v1/auth/token", data=form)).status_code for _ in range(2)]
        assert (await shop.client.get("/v1/products/42")).status_code == 200
    assert statuses == [401, 429]


async def test_forwarded_client_limited(start_shop: StartShop) -> None:
    """Behind our own proxy each client has its own limit; a client's own claims make no difference."""
    limits = {"client_rate_limit": "1/minute", "trusted_proxies": "127.0.0.0/8, 10.0.0.0/8"}
    async with start_shop(**limits) as shop:
        chains = [
            ["203.0.113.1"],
            ["1.1.1.1, 203.0.113.1"],
            ["203.0.113.1, 10.1.2.3"],
            ["203.0.113.1, ::ffff:10.1.2.3"],
            ["1.1.1.1", "203.0.113.1, 10.1.2.3", "10.1.2.3"],
            ["203.0.113.2"],
        ]
        statuses = [
            (
                await shop.client.get("/v1/products/42", headers=[("x-forwarded-for", line) for line in lines])
            ).status_code
            for lines in chains
        ]
    assert statuses == [200, 429, 429, 429, 429, 200]


async def test_strangers_are_not_believed(start_shop: StartShop) -> None:
    """Without a proxy that is trusted, no client gets a new limit by naming another address."""
    for trusted in ("", "10.0.0.0/8"):
        async with start_shop(client_rate_limit="1/minute", trusted_proxies=trusted) as shop:
            statuses = [
                (await shop.client.get("/v1/products/42", headers={"x-forwarded-for": f"203.0.113.{n}"})).status_code
                for n in range(2)
            ]
        assert statuses == [200, 429]
