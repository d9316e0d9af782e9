"""The stock store's promises, of both its adapters, on every database."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import select

from chassis.database.database import Database
from chassis.errors import ShopError
from services.inventory.domain import Adjustment, Line, Reservation, State, Stock
from services.inventory.ports import Erp
from services.inventory.sql_store import SqlStockStore, outbox
from services.inventory.sql_store.batching import BatchingStockStore
from services.inventory.use_cases import Inventory
from tests.contract.databases import opened, unrelayed, url_of

ONE = [Line("42", 1)]
NOW = datetime.now(UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("inventory", database_url, tmp_path)


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with opened("inventory", url) as found:
        yield found


@pytest.fixture(params=[SqlStockStore, BatchingStockStore])
async def store(request: pytest.FixtureRequest, db: Database) -> SqlStockStore:
    """Fifty pieces of 42, three of 7."""
    adapter: type[SqlStockStore] = request.param
    found = adapter(db, unrelayed(outbox, db))
    await found.add_missing({"42": 50, "7": 3})
    return found


async def figures(store: SqlStockStore, product_id: str = "42") -> tuple[int, int, int]:
    """Available, reserved, shipped; and together they are what came in."""
    stock = (await store.stock([product_id]))[product_id]
    assert stock.available + stock.reserved + stock.shipped == stock.received
    return stock.available, stock.reserved, stock.shipped


async def told(db: Database) -> list[dict[str, object]]:
    """What `stock.changed` events say, in their order."""
    async with db.reading() as connection:
        rows = await connection.execute(select(outbox).order_by(outbox.c.position))
        return [json.loads(row.data) for row in rows]


def codes(outcomes: Sequence[object]) -> Counter[str]:
    """How often each outcome came, refusals by their code."""
    return Counter(outcome.code if isinstance(outcome, ShopError) else repr(outcome) for outcome in outcomes)


async def test_last_fifty_pieces_go_to_fifty_of_two_hundred(url: str, store: SqlStockStore) -> None:
    """Two hundred orders over two connections to the database want the last fifty pieces at once: fifty get one."""
    async with opened("inventory", url) as second:
        stores = [store, type(store)(second, unrelayed(outbox, second))]
        outcomes = await asyncio.gather(
            *(stores[number % 2].reserve(f"o{number}", ONE) for number in range(200)), return_exceptions=True
        )
    assert codes(outcomes) == {"None": 50, "OUT_OF_STOCK": 150}
    assert await figures(store) == (0, 50, 0)
    assert len(await store.reservations_page("", 1_000)) == 50


async def test_orders_of_the_same_products_do_not_block_each_other(store: SqlStockStore) -> None:
    """Forty orders of the same two products, at once: all are reserved, none is a deadlock's victim."""
    await store.add_missing({"8": 50})
    lines = [Line("42", 1), Line("8", 1)]
    await asyncio.gather(*(store.reserve(f"o{number}", lines) for number in range(40)))
    assert (await figures(store), await figures(store, "8")) == ((10, 40, 0), (10, 40, 0))


async def test_reservation_is_all_or_nothing(db: Database, store: SqlStockStore) -> None:
    """An order of which one product is short reserves nothing of the others, publishes nothing, and may try again."""
    with pytest.raises(ShopError) as refusal:
        await store.reserve("o1", [Line("42", 1), Line("7", 4), Line("nothing", 1)])
    assert refusal.value.code == "OUT_OF_STOCK"
    assert refusal.value.details == {"product_ids": "7,nothing"}
    assert (await figures(store), await figures(store, "7")) == ((50, 0, 0), (3, 0, 0))
    assert await told(db) == []
    await store.reserve("o1", [Line("7", 3)])
    assert await figures(store, "7") == (0, 3, 0)


async def test_repeated_reservation_changes_nothing(store: SqlStockStore) -> None:
    """An order reserves once, however often and however much at once the call comes."""
    await asyncio.gather(*(store.reserve("o1", ONE) for _ in range(20)))
    await store.reserve("o1", ONE)
    assert await figures(store) == (49, 1, 0)


async def test_repeated_reservation_is_renewed(store: SqlStockStore) -> None:
    """Each repeat lets a reservation last until the repeat's own time, so a day of repeats outlives any time limit."""
    await store.reserve("o1", ONE, NOON)
    for quarter in range(1, 97):
        now = NOON + timedelta(minutes=15 * quarter)
        await store.reserve("o1", ONE, now + timedelta(minutes=1))
        assert await store.expired(now, 10) == []
        assert not await store.expire("o1", now)
    assert await store.reservations_page("", 10) == [
        Reservation("o1", State.HELD, ONE, NOON + timedelta(days=1, minutes=1))
    ]
    await store.reserve("o1", ONE, NOON)  # an older request that comes late
    assert await store.expired(NOON + timedelta(days=1), 10) == []
    assert await figures(store) == (49, 1, 0)


async def test_confirmed_reservation_stays_confirmed(store: SqlStockStore) -> None:
    """A repeat that comes after the confirmation does not give the reservation a time to expire again."""
    await store.reserve("o1", ONE, NOON)
    await store.confirm("o1")
    await store.reserve("o1", ONE, NOON + timedelta(minutes=15))
    assert await store.reservations_page("", 10) == [Reservation("o1", State.HELD, ONE)]


async def test_expired_reservation_is_made_anew_where_there_is_stock(store: SqlStockStore) -> None:
    """Of two expired orders for the last pieces, one gets them again at once and once; the other is out of stock."""
    three, later = [Line("7", 3)], NOON + timedelta(minutes=15)
    await store.reserve("o1", three, NOON)
    assert await store.expire("o1", NOON)
    assert not await store.expire("o1", NOON)
    await store.reserve("o2", three, NOON)
    await store.expire("o2", NOON)
    assert await figures(store, "7") == (3, 0, 0)
    answers = await asyncio.gather(
        *(store.reserve(order_id, three, later) for order_id in ("o1", "o2") * 10), return_exceptions=True
    )
    assert codes(answers) == {"None": 10, "OUT_OF_STOCK": 10}
    assert await figures(store, "7") == (0, 3, 0)
    held = [each for each in await store.reservations_page("", 10) if each.state is State.HELD]
    assert [(each.lines, each.expires_at) for each in held] == [(three, later)]
    await store.confirm(held[0].order_id)


async def test_release_after_the_expiry_closes_the_order(store: SqlStockStore) -> None:
    """A cancelled order whose reservation had expired gets no stock by a request that comes late."""
    await store.reserve("o1", ONE, NOON)
    await store.expire("o1", NOON)
    await store.release("o1")
    with pytest.raises(ShopError, match="ORDER_CLOSED"):
        await store.reserve("o1", ONE, NOON + timedelta(minutes=15))
    assert await figures(store) == (50, 0, 0)


async def test_release_gives_back_once(store: SqlStockStore) -> None:
    """A release gives back what was held; its repeats, at once or later, change nothing."""
    await store.reserve("o1", ONE)
    await asyncio.gather(*(store.release("o1") for _ in range(10)))
    await store.release("o1")
    assert await figures(store) == (50, 0, 0)


async def test_released_order_can_reserve_nothing_more(store: SqlStockStore) -> None:
    """A release that overtakes its reservation closes the door to it, also when ten of them come at once."""
    await asyncio.gather(*(store.release("o1") for _ in range(10)))
    with pytest.raises(ShopError, match="ORDER_CLOSED"):
        await store.reserve("o1", ONE)
    assert await figures(store) == (50, 0, 0)
    assert await store.reservations_page("", 10) == [Reservation("o1", State.RELEASED, [])]


async def test_reservation_and_release_at_once_end_released(store: SqlStockStore) -> None:
    """Whichever of a reservation and a release comes first, in the end nothing is held."""
    await asyncio.gather(
        *(act(f"o{number}") for number in range(25) for act in (lambda key: store.reserve(key, ONE), store.release)),
        return_exceptions=True,
    )
    assert await figures(store) == (50, 0, 0)
    assert {found.state for found in await store.reservations_page("", 100)} == {State.RELEASED}


async def test_shipping_is_done_once(store: SqlStockStore) -> None:
    """Shipping turns reserved into shipped, once, however often it is called."""
    await store.reserve("o1", [Line("42", 3)])
    await asyncio.gather(*(store.ship("o1") for _ in range(10)))
    await store.ship("o1")
    assert await figures(store) == (47, 0, 3)


async def test_shipped_order_is_not_given_back(store: SqlStockStore) -> None:
    """What has left the house cannot be released; a late reservation of it changes nothing."""
    await store.reserve("o1", ONE)
    await store.ship("o1")
    with pytest.raises(ShopError, match="RESERVATION_NOT_HELD"):
        await store.release("o1")
    await store.reserve("o1", ONE)
    assert await figures(store) == (49, 0, 1)


@pytest.mark.parametrize("released", [False, True])
async def test_only_what_is_held_can_be_shipped(store: SqlStockStore, released: bool) -> None:
    """Neither an unknown nor a released reservation is shipped."""
    if released:
        await store.release("o1")
    with pytest.raises(ShopError, match="RESERVATION_NOT_HELD"):
        await store.ship("o1")
    assert await figures(store) == (50, 0, 0)


async def test_adjustment_counts_once(store: SqlStockStore) -> None:
    """A scanner's report counts once per id, however often and at once it is sent; each answer has the level then."""
    answers = await asyncio.gather(*(store.adjust(Adjustment("a1", "42", 5, NOW)) for _ in range(10)))
    assert {answer.available for answer in answers} == {55}
    assert (await store.adjust(Adjustment("a2", "42", -5, NOW))).available == 50


async def test_unbooked_adjustments_by_pages(store: SqlStockStore) -> None:
    """Each page goes on after the last adjustment of the one before, also when all were counted at one moment."""
    wanted = [Adjustment(f"a{number}", "42", 1, NOW + timedelta(seconds=number // 3)) for number in range(6)]
    for each in reversed(wanted):
        await store.adjust(each)
    found: list[Adjustment] = []
    while page := await store.unbooked(2, after=found[-1] if found else None):
        found += page
    assert found == wanted
    await store.note_booked([wanted[0].id, wanted[4].id])
    assert await store.unbooked(9) == [*wanted[1:4], wanted[5]]


async def test_adjustments_of_a_new_product_at_once(store: SqlStockStore) -> None:
    """Goods that were never stocked are received, also when two scanners report them at the same moment."""
    await asyncio.gather(*(store.adjust(Adjustment(f"a{number}", "new", 2, NOW)) for number in range(10)))
    assert await figures(store, "new") == (20, 0, 0)


async def test_adjustment_below_zero_is_refused_and_may_come_again(store: SqlStockStore) -> None:
    """More cannot be lost than is available; the refused report counts once there is enough."""
    await store.reserve("o1", [Line("7", 2)])
    with pytest.raises(ShopError, match="OUT_OF_STOCK"):
        await store.adjust(Adjustment("a1", "7", -2, NOW))
    await store.release("o1")
    assert (await store.adjust(Adjustment("a1", "7", -2, NOW))).available == 1


async def test_each_change_tells_the_new_figures(db: Database, store: SqlStockStore) -> None:
    """Reserving, shipping, releasing and adjusting each publish the product's figures as they are then."""
    await store.reserve("o1", ONE)
    await store.ship("o1")
    await store.reserve("o2", ONE)
    await store.release("o2")
    await store.adjust(Adjustment("a1", "42", 10, NOW))
    assert [(event.get("available"), event.get("reserved"), event.get("shipped")) for event in await told(db)] == [
        ("49", "1", None), ("49", None, "1"), ("48", "1", "1"), ("49", None, "1"), ("59", None, "1"),
    ]  # fmt: skip


async def test_erps_last_word_is_remembered(store: SqlStockStore) -> None:
    """What the ERP said, and when, is kept to the microsecond, and our own figures are untouched by it."""
    as_of = datetime(2026, 3, 1, 12, 0, 0, 654321, tzinfo=UTC)
    await store.note_erp_levels({"42": 40, "unknown": 1}, as_of)
    stock = (await store.stock(["42", "unknown"]))["42"]
    assert (stock.erp_on_hand, stock.erp_as_of) == (40, as_of)
    assert await figures(store) == (50, 0, 0)


async def test_pages_hold_everything_once_while_more_comes(store: SqlStockStore) -> None:
    """Reading page by page sees each reservation and product once, in order, whatever is added behind."""
    for number in range(7):
        await store.reserve(f"o{number}", ONE)
    seen: list[str] = []
    while page := await store.reservations_page(seen[-1] if seen else "", 3):
        seen += [found.order_id for found in page]
        await store.release("a-first")
    assert seen == [f"o{number}" for number in range(7)]
    stocked: list[Stock] = []
    while more := await store.stock_page(stocked[-1].product_id if stocked else "", 1):
        stocked += more
    assert {found.product_id for found in stocked} == {"42", "7"}


async def test_stock_is_added_once_by_two_at_once(url: str, store: SqlStockStore) -> None:
    """Two processes that load the demo stock at once leave each product's figures as first loaded."""
    await store.reserve("o1", ONE)
    async with opened("inventory", url) as second:
        other = SqlStockStore(second, unrelayed(outbox, second))
        await asyncio.gather(store.add_missing({"42": 9, "8": 1}), other.add_missing({"8": 1, "42": 9}))
    assert (await figures(store), await figures(store, "8")) == ((49, 1, 0), (1, 0, 0))


async def test_reservation_expires_in_time_when_the_clock_was_set_back(store: SqlStockStore) -> None:
    """One that was made before the clock was set back by an hour is not held for an hour longer."""
    ttl = timedelta(seconds=0)
    inventory = Inventory(store, cast("Erp", None), reservation_ttl=ttl)
    await store.reserve("order-1", ONE, datetime.now(UTC) + timedelta(hours=1) + ttl)
    assert await inventory.expire() == 1
    assert await figures(store) == (50, 0, 0)
