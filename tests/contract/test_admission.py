"""When orders are refused because those before them wait too long, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast
from unittest.mock import AsyncMock

import pytest

from chassis.database.database import Database
from chassis.errors import Kind, ShopError, unavailable
from services.orders import domain
from services.orders.admission.cached_backlog import CachedBacklog
from services.orders.admission.fair_share import FEW
from services.orders.admission.placement import Admission
from services.orders.demo import demo_orders
from services.orders.domain import Item, Order
from services.orders.ports import Backlog, Erp, Quote, WaitingOrders
from services.orders.saga import Saga
from services.orders.sql_store import SqlOrderStore, outbox
from tests.contract.databases import opened, unrelayed, url_of
from tests.contract.orders import EPOCH, an_order, placed

MAX_AGE = timedelta(seconds=60)
HALF = MAX_AGE / 2
MOMENT = timedelta(seconds=1)
BASKET = [("42", 1)]


class FakeCatalog:
    """A working fake: everything costs one euro."""

    async def quote(self, basket: Sequence[tuple[str, int]]) -> Quote:
        items = [Item(product_id, "Thing", quantity, Decimal(1)) for product_id, quantity in basket]
        return Quote(items, Decimal(len(items)), "EUR")


def plain(store: WaitingOrders) -> WaitingOrders:
    return store


class Shop:
    """Orders that wait since `EPOCH`, and customers who place further ones `after` so long."""

    def __init__(self, database: Database, adapter: Callable[[WaitingOrders], WaitingOrders] = plain) -> None:
        self.store = SqlOrderStore(database, unrelayed(outbox, database))
        self._adapter = adapter

    async def place(self, user_id: str, *, after: timedelta, key: str = "") -> ShopError | None:
        """The refusal, if any. Nothing is remembered of an earlier look at the backlog."""
        now, waiting = EPOCH + after, self._adapter(self.store)
        admission = Admission(self.store, FakeCatalog(), waiting, max_age=MAX_AGE, clock=lambda: now)
        try:
            await admission.place_order(user_id, BASKET, key)
        except ShopError as refusal:
            return refusal
        return None


@pytest.fixture(params=[plain, CachedBacklog])
async def shop(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened("orders", url_of("orders", database_url, tmp_path)) as database:
        yield Shop(database, request.param)


async def test_refused_while_orders_wait_too_long(shop: Shop) -> None:
    """An order is accepted until the oldest has waited for so long; then it is refused and says when to come back."""
    await placed(shop.store, an_order())
    assert await shop.place("u2", after=MAX_AGE - MOMENT) is None
    refusal = await shop.place("u2", after=MAX_AGE + MOMENT)
    assert refusal is not None
    assert (refusal.code, refusal.kind, refusal.retry_after) == ("OVERLOADED", Kind.EXHAUSTED, 1)


async def test_a_repeat_is_answered(shop: Shop) -> None:
    """What was accepted under a key stays accepted, whatever waits by now."""
    assert await shop.place("u2", after=timedelta(0), key="k") is None
    await placed(shop.store, an_order())
    assert await shop.place("u2", after=2 * MAX_AGE, key="k") is None
    assert await shop.place("u2", after=2 * MAX_AGE, key="another") is not None


async def test_what_waits_for_another_system_does_not_count(shop: Shop) -> None:
    """Orders that are confirmed, marked as delayed, or demo data keep none from being accepted."""
    await shop.store.add_demo(demo_orders())
    confirmed, delayed = await placed(shop.store, an_order()), await placed(shop.store, an_order())
    await shop.store.change(confirmed.id, lambda order: domain.confirm(order, "p1"))
    await shop.store.change(delayed.id, lambda order: domain.delay(order, EPOCH + MAX_AGE, after=MAX_AGE))
    assert await shop.place("u2", after=2 * MAX_AGE) is None


class Failing:
    """Stub: an ERP that raises one error for each order."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def register(self, _: Order) -> None:
        raise self._error


@pytest.mark.parametrize("error", [unavailable("ERP"), RuntimeError("a fault of ours")], ids=["away", "fault"])
async def test_what_was_tried_does_not_count(shop: Shop, error: Exception) -> None:
    """An order whose first attempt failed keeps none from being accepted, long before its customer learns of a delay.

    That holds for an outage and for what becomes a dead letter. The attempt is no event of the order.
    """
    tried = await placed(shop.store, an_order())
    erp = cast("Erp", Failing(error))
    saga = Saga(shop.store, AsyncMock(), erp, AsyncMock(), delayed_after=2 * MAX_AGE, clock=lambda: EPOCH + MOMENT)
    for _ in range(2):
        with pytest.raises(type(error)):
            await saga.process(tried.id)
    assert await shop.place("u2", after=2 * MAX_AGE) is None
    assert [entry.type for entry in await shop.store.history(tried.id)] == ["order.placed"]
    await placed(shop.store, an_order())
    assert await shop.place("u2", after=2 * MAX_AGE) is not None


async def test_a_thousand_orders_of_one_customer_take_half_of_the_time(shop: Shop) -> None:
    """One customer's thousand waiting orders delay another's by half of the permitted age at most.

    From then on that customer is refused, so that the queue cannot grow older by them; another one is not.
    """
    await asyncio.gather(*(placed(shop.store, an_order("many")) for _ in range(1_000)))
    assert await shop.place("many", after=HALF - MOMENT) is None
    refusal = await shop.place("many", after=HALF + MOMENT)
    assert refusal is not None
    assert refusal.code == "OVERLOADED"
    assert [await shop.place("few", after=MAX_AGE - MOMENT) for _ in range(FEW)] == [None] * FEW


async def test_customers_with_even_shares_are_served_alike(shop: Shop) -> None:
    """Where all have a few orders waiting, all are served until the age is reached."""
    for user_id in ("u1", "u2", "u3"):
        for _ in range(FEW):
            await placed(shop.store, an_order(user_id))
    assert await shop.place("u1", after=MAX_AGE - MOMENT) is None
    assert await shop.place("u1", after=MAX_AGE) is not None


async def test_orders_placed_together_share_one_query() -> None:
    """However many orders are placed within half a second, the cached backlog is read from the store once."""
    backlog = Backlog({"u1": 1}, EPOCH)
    store = AsyncMock()
    store.backlog.return_value = backlog
    cached = CachedBacklog(store)
    assert await asyncio.gather(*(cached.backlog() for _ in range(20))) == [backlog] * 20
    assert await cached.backlog() == backlog
    store.backlog.assert_awaited_once_with()
