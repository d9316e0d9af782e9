"""The order store's promises, on every database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import select

from chassis.errors import ShopError
from services.orders import domain
from services.orders.demo import demo_orders
from services.orders.domain import Order, Outcome
from services.orders.sql_store import SqlOrderStore, outbox
from tests.contract.databases import opened, unrelayed, url_of
from tests.contract.orders import EPOCH, an_order, placed


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("orders", database_url, tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlOrderStore]:
    async with opened("orders", url) as db:
        yield SqlOrderStore(db, unrelayed(outbox, db))


async def test_order_comes_back_as_it_was_placed(store: SqlOrderStore) -> None:
    """What is read is what was written: items, amounts, and the moment in UTC to the microsecond."""
    order = await placed(store, an_order())
    found = await store.get(order.id)
    assert found is not None
    assert replace(found, items=tuple(found.items)) == order
    assert found.placed_at.utcoffset() == timedelta(0)


async def test_moment_of_another_zone_is_the_same_moment(store: SqlOrderStore) -> None:
    """A time given in another zone is kept as the same moment."""
    moment = EPOCH.astimezone(timezone(timedelta(hours=5, minutes=30)))
    order = await placed(store, an_order(placed_at=moment))
    found = await store.get(order.id)
    assert found is not None
    assert (found.placed_at, found.placed_at.tzinfo) == (EPOCH, UTC)


async def test_fifty_placements_under_one_key_are_one_order(store: SqlOrderStore) -> None:
    """However many requests carry one idempotency key at once, there is one order with one event, and all get it."""
    answers = await asyncio.gather(*(placed(store, an_order(), key="k") for _ in range(50)))
    assert len({answer.id for answer in answers}) == 1
    assert len(await store.page("u1", before=None, size=100)) == 1
    assert [entry.type for entry in await store.history(answers[0].id)] == ["order.placed"]


async def test_a_key_belongs_to_its_user(store: SqlOrderStore) -> None:
    """Two users may choose the same idempotency key."""
    mine, yours = await placed(store, an_order("u1"), key="k"), await placed(store, an_order("u2"), key="k")
    assert mine.id != yours.id


async def test_orders_without_a_key_are_all_placed(store: SqlOrderStore) -> None:
    """Without a key every placement is an order of its own."""
    await asyncio.gather(*(placed(store, an_order()) for _ in range(5)))
    assert len(await store.page("u1", before=None, size=10)) == 5


async def test_pages_are_newest_first_and_stay_so_while_orders_come(store: SqlOrderStore) -> None:
    """Reading page by page sees each older order once and in order, however many newer ones come meanwhile."""
    moments = [EPOCH + timedelta(seconds=number // 3) for number in range(20)]  # three of each share a moment
    expected = {(await placed(store, an_order(placed_at=moment))).id for moment in moments}
    seen: list[Order] = []
    before = None
    while page := await store.page("u1", before=before, size=3):
        seen += page
        before = (page[-1].placed_at, page[-1].id)
        await placed(store, an_order(placed_at=EPOCH + timedelta(days=1)))
    assert {order.id for order in seen} == expected
    assert len(seen) == len(expected)
    lines = [(order.placed_at, order.id) for order in seen]
    assert lines == sorted(lines, reverse=True)


async def test_page_has_only_the_users_own(store: SqlOrderStore) -> None:
    """A user's page holds no other user's order."""
    mine = await placed(store, an_order("u1"))
    await placed(store, an_order("u2"))
    assert [order.id for order in await store.page("u1", before=None, size=10)] == [mine.id]


async def test_newest_of_several_users(store: SqlOrderStore) -> None:
    """Of several users the newest orders of each, at most so many each, all newest first."""
    for number in range(4):
        for user_id in ("u1", "u2", "u3"):
            await placed(
                store, an_order(user_id, placed_at=EPOCH + timedelta(seconds=number), order_id=f"{user_id}-{number}")
            )
    found = [order.id for order in await store.newest_of(["u1", "u3", "nobody"], each=2)]
    assert found == ["u3-3", "u1-3", "u3-2", "u1-2"]


async def test_concurrent_decisions_leave_a_history_without_gaps(store: SqlOrderStore) -> None:
    """Decisions that come all at once are taken one after the other: one of each kind wins, sequences are 1, 2, 3 …"""
    order = await placed(store, an_order())

    def confirm(current: Order) -> Outcome:
        return domain.confirm(current, "pi_1")

    def pay(current: Order) -> Outcome:
        return domain.mark_paid(current, "pi_1")

    decisions = [confirm, lambda current: domain.reject(current, "no"), pay, domain.cancel] * 10
    await asyncio.gather(*(store.change(order.id, each) for each in decisions), return_exceptions=True)
    history = await store.history(order.id)
    assert [entry.sequence for entry in history] == list(range(1, len(history) + 1))
    found = await store.get(order.id)
    assert found is not None
    assert found.version == len(history)
    moved = [entry.type for entry in history if entry.type != "order.refund_due"]
    assert moved[-1] == f"order.{found.status}"


async def test_refund_begins_once_however_often_the_payment_is_reported(store: SqlOrderStore) -> None:
    """A payment of a cancelled order, reported forty times at once, is due back by one event."""
    order = await placed(store, an_order())
    await store.change(order.id, domain.cancel)
    answers = await asyncio.gather(
        *(store.change(order.id, lambda current: domain.mark_paid(current, "pi_1")) for _ in range(40))
    )
    assert {(answer.status.value, answer.refund_due) for answer in answers} == {("cancelled", "pi_1")}
    history = await store.history(order.id)
    assert [entry.type for entry in history] == ["order.placed", "order.cancelled", "order.refund_due"]
    assert json.loads(history[-1].data)["payment_id"] == "pi_1"


async def test_version_counts_every_concurrent_change(store: SqlOrderStore) -> None:
    """No change is lost: after forty at once the version is forty higher and the history has forty more entries."""
    order = await placed(store, an_order())

    def again(current: Order) -> Outcome:
        return replace(current, version=current.version + 1), domain.OrderPaid("p")

    await asyncio.gather(*(store.change(order.id, again) for _ in range(40)))
    assert [entry.sequence for entry in await store.history(order.id)] == list(range(1, 42))


async def test_refused_decision_changes_nothing(store: SqlOrderStore) -> None:
    """A decision that raises leaves neither a changed row nor an event."""
    order = await placed(store, an_order())
    with pytest.raises(ShopError, match="ORDER_NOT_CONFIRMED"):
        await store.change(order.id, lambda current: domain.mark_paid(current, "pi_1"))
    found = await store.get(order.id)
    assert found is not None
    assert (found.version, len(await store.history(order.id))) == (1, 1)


async def test_decision_about_no_order_is_not_found(store: SqlOrderStore) -> None:
    """An order that is not there cannot be changed."""
    with pytest.raises(ShopError, match="NOT_FOUND"):
        await store.change("nobody's", domain.cancel)


async def test_event_and_state_are_one_transaction(store: SqlOrderStore) -> None:
    """An event that cannot be written undoes the change that it belongs to."""
    order = await placed(store, an_order())
    unspeakable = domain.OrderPaid(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await store.change(order.id, lambda current: (replace(current, version=2), unspeakable))
    found = await store.get(order.id)
    assert found is not None
    assert found.version == 1


async def test_records_are_oldest_first_with_their_history(store: SqlOrderStore) -> None:
    """The audit's pages hold every order once, oldest first, with its events and how many are not published yet."""
    ids = [
        (await placed(store, an_order(f"u{number}", placed_at=EPOCH + timedelta(seconds=number)))).id
        for number in range(5)
    ]
    await store.change(ids[0], lambda current: domain.confirm(current, "pi"))
    first = await store.records(after=None, size=2)
    rest = await store.records(after=(first[-1].order.placed_at, first[-1].order.id), size=10)
    assert [record.order.id for record in [*first, *rest]] == ids
    assert [entry.type for entry in first[0].history] == ["order.placed", "order.confirmed"]
    assert [record.unpublished for record in [*first, *rest]] == [2, 1, 1, 1, 1]


async def test_demo_orders_are_added_once_by_two_at_once(url: str) -> None:
    """Two processes that load the demo orders at once, and a third later, leave each once, with its history."""
    async with opened("orders", url) as one, opened("orders", url) as two:
        stores = [SqlOrderStore(db, unrelayed(outbox, db)) for db in (one, two)]
        await asyncio.gather(*(store.add_demo(demo_orders()) for store in stores))
        await stores[0].add_demo(demo_orders())
        records = await stores[0].records(after=None, size=100)
        async with one.reading() as connection:
            pending = (await connection.execute(select(outbox).where(outbox.c.published_at.is_(None)))).all()
    assert sorted(record.order.id for record in records) == ["123", "124", "125", "126", "127", "128", "129"]
    assert all(len(record.history) == record.order.version for record in records)
    assert pending == []
