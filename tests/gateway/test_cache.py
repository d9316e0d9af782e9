from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.settings import TOPOLOGY
from gateway.cache import cache as cache_room
from gateway.cache import rules
from gateway.cache.cache import EdgeCache
from gateway.cache.store import CacheStore, Stored
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop
from tests.waiting import eventually

LAMP = {"name": "Lamp", "category": "home", "price": "12.50", "currency": "EUR"}


@pytest.fixture
async def shop(start_shop: StartShop) -> AsyncIterator[Shop]:
    async with start_shop(edge_cache_bytes=1 << 20) as running:
        yield running


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """The broker that the gateway follows."""
    found = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology.load(TOPOLOGY))
    yield found
    await found.close()


def asked(shop: Shop) -> int:
    return len(shop.catalog.behaviour.requests)


def outcome(response: httpx.Response) -> str:
    """ "hit", or why it was not one."""
    _, first, *_ = response.headers["cache-status"].split(";")
    return str(first)


def change_of(product_id: str) -> Event:
    return Event(uuid.uuid4().hex, "product.changed", "/catalog", product_id, datetime.now(UTC), b"{}")


@pytest.mark.parametrize("path", ["/v1/products/42", "/v1/products", "/v1/products?ids=42,123"])
async def test_hit(shop: Shop, path: str) -> None:
    """What was read once is answered from the cache, byte for byte, and says how old it is and where it comes from."""
    first, second = await shop.client.get(path), await shop.client.get(path)
    assert (outcome(first), outcome(second)) == ("fwd=uri-miss", "hit")
    assert "age" not in first.headers
    assert 0 <= int(second.headers["age"]) < 60
    assert (first.content, first.headers["etag"]) == (second.content, second.headers["etag"])
    assert asked(shop) == 1


async def test_own_ids(shop: Shop) -> None:
    """What is one request's own is not repeated to the next: ids, trace, limits."""
    first, second = [await shop.client.get("/v1/products/42") for _ in range(2)]
    for name in ("x-request-id", "traceparent", "ratelimit"):
        assert len(second.headers.get_list(name)) == 1
        assert first.headers[name] != second.headers[name]


async def test_head_and_get(shop: Shop) -> None:
    """A stored GET answers a HEAD."""
    get, head = await shop.client.get("/v1/products/42"), await shop.client.head("/v1/products/42")
    assert (outcome(head), head.content, head.headers["content-length"]) == ("hit", b"", get.headers["content-length"])


async def test_not_modified(shop: Shop) -> None:
    """A client that has the stored version gets a 304 without a call to an upstream."""
    etag = (await shop.client.get("/v1/products/42")).headers["etag"]
    response = await shop.client.get("/v1/products/42", headers={"if-none-match": etag})
    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
    assert "content-type" not in response.headers
    assert asked(shop) == 1


async def test_condition_on_a_miss(shop: Shop) -> None:
    """A conditional request that is the first one fills the cache, and is answered with a 304 all the same."""
    first = await shop.client.get("/v1/products/42", headers={"if-none-match": '"42-3"'})
    second = await shop.client.get("/v1/products/42")
    assert (first.status_code, second.status_code, outcome(second)) == (304, 200, "hit")


async def test_signed_in(shop: Shop) -> None:
    """Products are the same for all callers, so a caller with a token shares what is stored; a bad token is refused."""
    headers = await shop.signed_in()
    await shop.client.get("/v1/products/42", headers=headers)
    assert outcome(await shop.client.get("/v1/products/42")) == "hit"
    assert outcome(await shop.client.get("/v1/products/42", headers=headers)) == "hit"
    assert (await shop.client.get("/v1/products/42", headers={"authorization": "Bearer x"})).status_code == 401


async def test_limits_count_hits(start_shop: StartShop) -> None:
    """A request that the cache could answer counts like any other."""
    async with start_shop(edge_cache_bytes=1 << 20, client_rate_limit="2/minute") as shop:
        statuses = [(await shop.client.get("/v1/products/42")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("path", ["/v1/users/me", "/v1/orders", "/v1/orders/123", "/v1/products/42/availability"])
async def test_nothing_personal(shop: Shop, path: str) -> None:
    """What is for one caller, or true only now, is never stored."""
    headers = await shop.signed_in()
    for _ in range(2):
        response = await shop.client.get(path, headers=headers)
        assert response.status_code == 200
        assert "cache-status" not in response.headers
        assert response.headers["cache-control"] in ("no-store", "private, no-cache")


async def test_errors_are_not_stored(shop: Shop) -> None:
    """A 404 and an upstream's failure are not stored."""
    for _ in range(2):
        assert (await shop.client.get("/v1/products/4711")).status_code == 404
    assert asked(shop) == 2
    shop.catalog.behaviour.failure = ValueError("broken")
    assert (await shop.client.get("/v1/products/42")).status_code == 500
    shop.catalog.behaviour.failure = None
    assert (await shop.client.get("/v1/products/42")).status_code == 200


@pytest.mark.parametrize(
    ("said", "forwarded"),
    [
        ({"cache-control": "no-cache"}, True),
        ({"cache-control": "max-age=0"}, True),
        ({"pragma": "no-cache"}, True),
        ({"cache-control": "max-age=3600"}, False),
        ({"cache-control": "min-fresh=3600"}, True),
        ({"cache-control": "only-if-cached"}, False),
    ],
)
async def test_what_clients_ask_of_caches(shop: Shop, said: dict[str, str], forwarded: bool) -> None:
    """RFC 9111, 5.2.1: a client can insist on a fresh answer."""
    await shop.client.get("/v1/products/42")
    response = await shop.client.get("/v1/products/42", headers=said)
    assert response.status_code == 200
    assert (asked(shop) == 2, outcome(response) != "hit") == (forwarded, forwarded)


async def test_no_store(shop: Shop) -> None:
    """RFC 9111, 5.2.1.5: what a client does not want stored is not."""
    await shop.client.get("/v1/products/42", headers={"cache-control": "no-store"})
    assert outcome(await shop.client.get("/v1/products/42")) == "fwd=uri-miss"


async def test_only_if_cached(shop: Shop) -> None:
    """RFC 9111, 5.2.1.7: with nothing stored, only-if-cached is a 504."""
    response = await shop.client.get("/v1/products/42", headers={"cache-control": "only-if-cached"})
    assert (response.status_code, asked(shop)) == (504, 0)


async def test_stale_is_validated(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale response is revalidated by its entity tag, and used again when it is still current."""
    await shop.client.get("/v1/products/42")
    monkeypatch.setattr(cache_room, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 3600))
    response = await shop.client.get("/v1/products/42")
    assert (response.status_code, response.json()["id"]) == (200, "42")
    assert response.headers["cache-status"] == "gateway;fwd=stale;fwd-status=304;stored"
    assert outcome(await shop.client.get("/v1/products/42")) == "hit"
    assert asked(shop) == 2


async def test_one_asks_for_all(shop: Shop) -> None:
    """Fifty equal requests at once cost the catalogue one call."""
    responses = await asyncio.gather(*(shop.client.get("/v1/products/42") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert asked(shop) == 1
    assert sum("collapsed" in response.headers["cache-status"] for response in responses) >= 1


async def test_readers_who_wait_share_the_next_answer_when_the_first_became_too_old() -> None:
    """A change while a product is fetched leaves that answer to its asker; one more is fetched for all the others."""
    gate, fetched = asyncio.Event(), 0

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        nonlocal fetched
        fetched += 1
        await gate.wait()
        await asyncio.sleep(0.05)  # as long as a call takes, in which all who wait look again
        headers = [(b"cache-control", b"public, s-maxage=60"), (b"etag", b'"1"')]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    cache = EdgeCache(behind, CacheStore(1 << 20), seen=lambda _: None)

    async def read() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/v1/products/42", "raw_path": b"/v1/products/42"}
        await cache({**scope, "query_string": b"", "headers": [], "route": None}, None, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    reads = [asyncio.create_task(read()) for _ in range(20)]
    await eventually(lambda: fetched == 1)
    cache.changed("42")
    gate.set()
    assert await asyncio.gather(*reads) == [200] * 20
    assert fetched == 2


async def test_failure_of_the_one_who_asks(shop: Shop) -> None:
    """When the request that fetches fails, the others fetch for themselves."""
    shop.catalog.behaviour.failure = ValueError("broken")
    responses = await asyncio.gather(*(shop.client.get("/v1/products/42") for _ in range(10)))
    assert {response.status_code for response in responses} == {500}
    assert asked(shop) == 10


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_write_through_this_gateway(shop: Shop, method: str) -> None:
    """RFC 9111, 4.4: after a write the next read is fresh, of the product and of the lists."""
    paths = ("/v1/products/42", "/v1/products", "/v1/products/123")
    for path in paths:
        await shop.client.get(path)
    body = {"PUT": LAMP, "PATCH": {"price": "1.00"}, "DELETE": None}[method]
    response = await shop.client.request(method, "/v1/products/42", json=body, headers=await shop.admin())
    assert response.is_success
    outcomes = [outcome(await shop.client.get(path)) for path in paths]
    assert outcomes == ["fwd=uri-miss", "fwd=uri-miss", "hit"]


async def test_refused_write_changes_nothing(shop: Shop) -> None:
    """A write that is refused leaves what is stored alone: no caller without the right can empty the cache."""
    await shop.client.get("/v1/products/42")
    assert (await shop.client.put("/v1/products/42", json=LAMP, headers=await shop.signed_in())).status_code == 403
    assert outcome(await shop.client.get("/v1/products/42")) == "hit"


async def test_event(shop: Shop, broker: Broker) -> None:
    """When the catalogue says that a product has changed, the next read is fresh, whichever gateway took the change."""

    async def follows() -> bool:
        # Until the gateway reads the log, an event may come too early for it.
        await shop.client.get("/v1/products/123")
        await broker.publish([change_of("123")])
        await asyncio.sleep(0.02)
        return outcome(await shop.client.get("/v1/products/123")) != "hit"

    await eventually(follows)
    for path in ("/v1/products/42", "/v1/products"):
        await shop.client.get(path)
    shop.catalog.products["42"].name = "Another"
    await broker.publish([change_of("42")])

    async def name() -> str:
        return str((await shop.client.get("/v1/products/42")).json()["name"])

    async def fresh() -> bool:
        return await name() == "Another"

    await eventually(fresh)
    items = (await shop.client.get("/v1/products")).json()["items"]
    assert {item["name"] for item in items} == {"Another", "Product 123"}


async def test_change_during_a_fetch(shop: Shop) -> None:
    """A response requested before a change is not stored after it."""
    admin = await shop.admin()
    held = shop.catalog.behaviour.held = asyncio.Event()
    reading = asyncio.create_task(shop.client.get("/v1/products/42"))
    await eventually(lambda: asked(shop))
    shop.catalog.behaviour.held = None
    changing = await shop.client.patch("/v1/products/42", json={"price": "1.00"}, headers=admin)
    assert changing.status_code == 200
    held.set()
    old = await reading
    assert (old.status_code, old.json()["price"]) == (200, "49.00")
    new = await shop.client.get("/v1/products/42")
    assert (outcome(new), new.json()["price"]) == ("fwd=uri-miss", "1.00")


async def test_variants(start_shop: StartShop) -> None:
    """A compressed answer and a plain one are stored beside one another, each with an entity tag of its own."""
    async with start_shop(edge_cache_bytes=1 << 20) as shop:
        shop.catalog.products["42"].description = "long " * 500
        tags = {}
        for accepted in ("br", "gzip", "identity", "gzip;q=0.5, br;q=1.0"):
            for expected in ("fwd=uri-miss", "hit"):
                response = await shop.client.get("/v1/products/42", headers={"accept-encoding": accepted})
                tags[accepted] = response.headers["etag"]
                if accepted != "gzip;q=0.5, br;q=1.0":
                    assert outcome(response) == expected
        assert outcome(response) == "hit"
        assert tags["br"] == tags["gzip;q=0.5, br;q=1.0"] == '"42-3;br"'
        assert tags["gzip"] == '"42-3;gzip"'
        assert tags["identity"] == '"42-3"'
        assert asked(shop) == 3


def stored(body: bytes) -> Stored:
    return Stored([], body, b"", 60.0, 0.0, None)


def test_memory_is_bounded() -> None:
    """However much is read, only so many bytes are kept: what was used least recently goes first."""
    store = CacheStore(100_000)
    for number in range(1_000):
        store.put(f"/{number}", str(number), (), {}, stored(b"x" * 7_900))
        store.get("/0", {})
    assert store.size <= 100_000
    assert len(store) == 10
    assert store.get("/0", {})
    assert store.get("/999", {})
    store.drop_topic("999")
    assert store.get("/999", {}) is None
    store.clear()
    assert (store.size, len(store)) == (0, 0)


def test_memory_is_bounded_whatever_the_targets() -> None:
    """Targets with long queries take from the same bytes as what is answered to them."""
    store = CacheStore(100_000)
    for number in range(100):
        store.put(f"/42?{number:015000}", "42", (), {}, stored(b"x"))
    assert len(store) * 15_000 <= store.size <= 100_000
    for number in range(100):
        store.put(f"/{number}", "42", (), {}, stored(b"x"))
        store.put(f"/{number}", "42", (), {}, stored(b"xy"))
    store.drop_topic("42")
    assert (store.size, len(store)) == (0, 0)


def test_too_large_to_keep() -> None:
    """One answer does not push out everything else."""
    store = CacheStore(100_000)
    store.put("/a", "a", (), {}, stored(b"x" * 90_000))
    assert len(store) == 0


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {b"cache-control": b"public, max-age=30"}, 30),
        (200, {b"cache-control": b"public, max-age=30, s-maxage=60"}, 60),
        (200, {b"cache-control": b'public, S-MaxAge="60"'}, 60),
        (200, {b"cache-control": b"max-age=30"}, 0),
        (200, {b"cache-control": b"private, max-age=30"}, 0),
        (200, {b"cache-control": b"public, no-store, max-age=30"}, 0),
        (200, {b"cache-control": b"public, no-cache, max-age=30"}, 0),
        (200, {b"cache-control": b"public, max-age=-1"}, 0),
        (200, {b"cache-control": b"public, max-age=30", b"set-cookie": b"a=b"}, 0),
        (200, {b"cache-control": b"public, max-age=30", b"vary": b"*"}, 0),
        (404, {b"cache-control": b"public, max-age=30"}, 0),
        (200, {}, 0),
    ],
)
def test_lifetime(status: int, headers: dict[bytes, bytes], seconds: float) -> None:
    """RFC 9111, 3 and 4.2.1: what may be kept, and for how long."""
    assert rules.lifetime(status, headers) == seconds
