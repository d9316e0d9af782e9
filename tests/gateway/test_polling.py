"""Polling an order: conditionally (`ETag`), and waiting for its change (`Prefer: wait`, RFC 7240)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.settings import TOPOLOGY
from gateway.clients.event_feed import OrderWaiters
from gateway.http.preferences import MAX_WAIT, wait_preferred
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop
from tests.waiting import eventually

ORDER = "/v1/orders/123"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """The broker whose log the gateway follows."""
    found = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology.load(TOPOLOGY))
    yield found
    await found.close()


async def happens(shop: Shop, broker: Broker, order_id: str = "123") -> None:
    """The order changes, and an event says so."""
    shop.orders.version += 1
    time_, data = datetime.now(UTC), b"{}"
    event_id = f"{order_id}-{shop.orders.version}"
    await broker.publish([Event(event_id, "order.paid", "/orders", order_id, time_, data, {"userid": "123"})])


async def waiting(
    shop: Shop, seconds: str, etag: str, signed_in: dict[str, str] | None = None
) -> asyncio.Task[httpx.Response]:
    """A request that has been seen to wait: the order was read for it."""
    before = len(shop.orders.behaviour.requests)
    headers = {**(signed_in or await shop.signed_in()), "prefer": seconds, "if-none-match": etag}
    request = asyncio.create_task(shop.client.get(ORDER, headers=headers))
    await eventually(lambda: len(shop.orders.behaviour.requests) > before or request.done())
    return request


async def follows(shop: Shop, broker: Broker) -> None:
    """Wait until the gateway reads the log."""
    customer = await shop.signed_in()

    async def woken() -> bool:
        began = time.monotonic()
        request = await waiting(shop, "wait=20", f'"123-{shop.orders.version}"', customer)
        while not request.done():
            await happens(shop, broker)
            await asyncio.wait([request], timeout=2)
        assert (await request).status_code == 200
        return time.monotonic() - began < 15  # else its time was up

    await eventually(woken, within=60)


async def test_unchanged(shop: Shop) -> None:
    """A client with the present version gets a 304 without a body; after a change, the order again with another tag."""
    first = await shop.client.get(ORDER, headers=await shop.signed_in())
    headers = {**await shop.signed_in(), "if-none-match": first.headers["etag"]}
    same = await shop.client.get(ORDER, headers=headers)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert same.headers["cache-control"] == "private, no-cache"
    shop.orders.version += 1
    changed = await shop.client.get(ORDER, headers=headers)
    assert (changed.status_code, changed.json()["id"]) == (200, "123")
    assert changed.headers["etag"] != first.headers["etag"]


async def test_answered_at_the_change(shop: Shop, broker: Broker) -> None:
    """A request that waits is answered when the order changes, long before its time is up."""
    await follows(shop, broker)
    request = await waiting(shop, "wait=20", f'"123-{shop.orders.version}"')
    began = time.monotonic()
    await happens(shop, broker)
    response = await request
    assert time.monotonic() - began < 15
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=20")
    assert response.headers["etag"] == f'"123-{shop.orders.version}"'


async def test_waiting_costs_no_calls(shop: Shop, broker: Broker) -> None:
    """However many requests wait, the service behind is called once for each when it begins and once when it ends."""
    await follows(shop, broker)
    etag, before = f'"123-{shop.orders.version}"', len(shop.orders.behaviour.requests)
    customer = await shop.signed_in()
    requests = [await waiting(shop, "wait=20", etag, customer) for _ in range(20)]
    assert len(shop.orders.behaviour.requests) == before + 20
    await happens(shop, broker)
    assert {response.status_code for response in await asyncio.gather(*requests)} == {200}
    assert len(shop.orders.behaviour.requests) == before + 40


async def test_another_orders_change_wakes_no_request(shop: Shop, broker: Broker) -> None:
    """News of another order does not end the wait."""
    await follows(shop, broker)
    request = await waiting(shop, "wait=20", f'"123-{shop.orders.version}"')
    before = len(shop.orders.behaviour.requests)
    await broker.publish([Event("x", "order.paid", "/orders", "other", datetime.now(UTC), b"{}", {"userid": "9"})])
    await happens(shop, broker)
    assert (await request).status_code == 200
    assert len(shop.orders.behaviour.requests) == before + 1


async def test_time_is_up(shop: Shop) -> None:
    """When nothing changes, the answer after the time is a 304, and it says that the wait was granted."""
    began = time.monotonic()
    response = await (await waiting(shop, "wait=1", '"123-1"'))
    assert time.monotonic() - began >= 1
    assert (response.status_code, response.headers["preference-applied"]) == (304, "wait=1")


@pytest.mark.parametrize("headers", [{"prefer": "wait=20"}, {"prefer": "wait=20", "if-none-match": '"123-0"'}])
async def test_news_does_not_wait(shop: Shop, headers: dict[str, str]) -> None:
    """A client with no version yet, or an older one, is answered at once."""
    began = time.monotonic()
    response = await shop.client.get(ORDER, headers={**await shop.signed_in(), **headers})
    assert (response.status_code, time.monotonic() - began < 15) == (200, True)


async def test_strangers_do_not_wait(shop: Shop) -> None:
    """No client can wait for an order that it may not see."""
    headers = {**await shop.signed_in(), "prefer": "wait=20", "if-none-match": '"999-1"'}
    assert (await shop.client.get("/v1/orders/999", headers=headers)).status_code == 404


async def test_stopping_answers_those_who_wait(start_shop: StartShop) -> None:
    """A gateway that stops answers the requests that wait, instead of breaking them off."""
    async with httpx.AsyncClient(timeout=40) as client:
        async with start_shop() as shop:
            url = f"{shop.client.base_url}{ORDER}"
            headers = {**await shop.signed_in(), "prefer": "wait=30", "if-none-match": '"123-1"'}
            request = asyncio.create_task(client.get(url, headers=headers))
            await eventually(lambda: shop.orders.behaviour.requests)
        assert (await request).status_code == 304


async def test_a_full_house_answers_at_once() -> None:
    """When too many requests wait already, the next one does not; when one has gone, there is room again."""
    waiters = OrderWaiters(limit=1)
    with waiters.expected("a") as first:
        with waiters.expected("b") as second:
            assert (first is not None, second) == (True, None)
        waiters.changed("a")
        assert first is not None
        assert first.is_set()
    with waiters.expected("b") as third:
        assert third is not None


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], 0),
        (["wait=10"], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "Wait = 7"], 7),
        (["wait=5; strict, wait=9"], 5),
        (['wait="8"'], 8),
        (["wait"], 0),
        (["wait=soon"], 0),
        (["wait=-1"], 0),
        (["wait=60"], MAX_WAIT),
        (["wait=" + "9" * 5_000], MAX_WAIT),
    ],
)
def test_preference(lines: list[str], seconds: int) -> None:
    """RFC 7240, 2 and 4.3: the first `wait` counts, what is not understood is ignored, and there is a bound."""
    assert wait_preferred(lines) == seconds
