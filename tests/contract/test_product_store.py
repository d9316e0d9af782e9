"""The product store's promises, on every database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from chassis.database.database import Database
from chassis.errors import ShopError
from services.catalog.cached_store import CachedProductStore
from services.catalog.domain import Product, version_mismatch
from services.catalog.sql_store import SqlProductStore, outbox
from tests.contract.databases import opened, unrelayed, url_of

UPDATED = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def a_product(product_id: str, *, name: str = "Keyboard", category: str = "hardware") -> Product:
    return Product(product_id, name, "Eighty-seven keys", category, Decimal("89.90"), "EUR", "/x", UPDATED, 1)


def anything_goes(product: Product) -> None:
    """Check nothing."""


def renamed(product: Product) -> Product:
    return replace(product, name=f"{product.name}!", version=product.version + 1)


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("catalog", database_url, tmp_path)


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with opened("catalog", url) as found:
        yield found


@pytest.fixture(params=[SqlProductStore, CachedProductStore])
async def store(request: pytest.FixtureRequest, db: Database) -> SqlProductStore:
    adapter: type[SqlProductStore] = request.param
    return adapter(db, unrelayed(outbox, db))


async def told(db: Database) -> list[dict[str, object]]:
    """What `product.changed` events say, in their order."""
    async with db.reading() as connection:
        return [json.loads(row.data) for row in await connection.execute(select(outbox).order_by(outbox.c.position))]


async def all_pages(store: SqlProductStore, *, category: str = "", query: str = "", size: int = 3) -> list[str]:
    seen: list[str] = []
    while page := await store.page(category=category, query=query, after=seen[-1] if seen else "", size=size):
        seen += [product.id for product in page]
    return seen


async def test_product_comes_back_as_it_was_added(store: SqlProductStore) -> None:
    """What is read is what was written: the price to the cent, the moment in UTC to the microsecond."""
    product = a_product("p")
    await store.add(product)
    assert await store.by_ids(["p", "unknown"]) == {"p": product}


async def test_a_change_is_seen_at_once_by_every_process(url: str, store: SqlProductStore) -> None:
    """However often a product was read, what another process or this one has changed is what is read next."""
    await store.add(a_product("p"))
    async with opened("catalog", url) as other:
        writers = [SqlProductStore(other, unrelayed(outbox, other)), store]
        for writer in writers * 2:
            known = (await store.by_ids(["p"]))["p"]
            assert await store.by_ids(["p"]) == {"p": known}
            await writer.change("p", renamed)
            assert await store.by_ids(["p"]) == {"p": renamed(known)}
        await writers[0].delete("p", anything_goes)
    assert await store.by_ids(["p"]) == {}


async def test_those_who_ask_together_get_what_they_asked_for(store: SqlProductStore) -> None:
    """Many readers of different products at once each get theirs, and nothing else."""
    for number in range(7):
        await store.add(a_product(f"p{number}"))
    wanted = [[f"p{number % 7}" for number in range(first, first + 3)] for first in range(40)]
    found = await asyncio.gather(*(store.by_ids([*ids, "unknown"]) for ids in wanted))
    assert [sorted(each) for each in found] == [sorted(ids) for ids in wanted]


async def test_pages_follow_each_other_while_products_come(store: SqlProductStore) -> None:
    """Reading page by page sees each product once, however many are added meanwhile before the place reached."""
    for number in range(10):
        await store.add(a_product(f"p{number}"))
    seen: list[str] = []
    while page := await store.page(category="", query="", after=seen[-1] if seen else "", size=3):
        seen += [product.id for product in page]
        await store.add(a_product(f"a{len(seen)}"))
    assert seen == [f"p{number}" for number in range(10)]


async def test_search_ignores_case_in_every_alphabet(store: SqlProductStore) -> None:
    """Every word of a query must occur in name or description, in upper or lower case, with accents or without any."""
    await store.add(a_product("1", name="Übung macht den Meister"))
    await store.add(a_product("2", name="ÉTUDES, op. 10"))
    assert await all_pages(store, query="übung") == ["1"]
    assert await all_pages(store, query="études KEYS") == ["2"]
    assert await all_pages(store, query="übung études") == []


@pytest.mark.parametrize("query", ["%", "_", "\\", "'; DROP TABLE products; --"])
async def test_search_takes_signs_literally(store: SqlProductStore, query: str) -> None:
    """A query's signs are text: none is a pattern, none is SQL."""
    await store.add(a_product("1"))
    assert await all_pages(store, query=query) == []


async def test_category_and_query_narrow_together(store: SqlProductStore) -> None:
    """A page holds only what has the category and matches the query."""
    for product in (a_product("1"), a_product("2", category="books"), a_product("3", name="Lamp", category="books")):
        await store.add(product)
    assert await all_pages(store, category="books") == ["2", "3"]
    assert await all_pages(store, category="books", query="keyboard", size=1) == ["2"]


async def test_concurrent_changes_are_all_counted(db: Database, store: SqlProductStore) -> None:
    """Twenty changes at once are taken one after the other, and each publishes its own version."""
    await store.add(a_product("p"))
    await asyncio.gather(*(store.change("p", renamed) for _ in range(20)))
    product = (await store.by_ids(["p"]))["p"]
    assert (product.version, product.name) == (21, "Keyboard" + "!" * 20)
    assert [event["version"] for event in await told(db)] == [str(version) for version in range(1, 22)]


async def test_only_one_of_those_who_saw_a_version_changes_it(store: SqlProductStore) -> None:
    """Of ten writers that have seen the same version, one wins and nine get an error."""
    await store.add(a_product("p"))

    def if_first(product: Product) -> Product:
        if product.version != 1:
            raise version_mismatch(product)
        return renamed(product)

    outcomes = await asyncio.gather(*(store.change("p", if_first) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, Product) for outcome in outcomes) == 1
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ShopError)} == {"VERSION_MISMATCH"}


async def test_an_event_changes_a_product_once(db: Database, store: SqlProductStore) -> None:
    """The same event, ten times at once and again later, is one change; each caller sees the product after it."""
    await store.add(a_product("p"))
    answers = await asyncio.gather(*(store.change_once("e", "p", renamed) for _ in range(10)))
    answers.append(await store.change_once("e", "p", renamed))
    assert {answer.version for answer in answers} == {2}
    assert len(await told(db)) == 2


async def test_an_event_that_could_not_be_applied_may_come_again(store: SqlProductStore) -> None:
    """An event about a product that is not there yet is not taken for done."""
    with pytest.raises(ShopError, match="NOT_FOUND"):
        await store.change_once("e", "p", renamed)
    await store.add(a_product("p"))
    assert (await store.change_once("e", "p", renamed)).version == 2


async def test_deleted_product_is_gone(db: Database, store: SqlProductStore) -> None:
    """A deleted product is neither found, listed, changed nor deleted again, and the deletion is published."""
    await store.add(a_product("p"))
    await store.delete("p", anything_goes)
    assert (await store.by_ids(["p"]), await all_pages(store)) == ({}, [])
    with pytest.raises(ShopError, match="NOT_FOUND"):
        await store.change("p", renamed)
    with pytest.raises(ShopError, match="NOT_FOUND"):
        await store.delete("p", anything_goes)
    assert [event.get("deleted", False) for event in await told(db)] == [False, True]


async def test_demo_products_are_added_once_and_stay_deleted(url: str, store: SqlProductStore) -> None:
    """Loading the demo products by two processes at once adds each once; one that was changed or deleted stays so."""
    await store.add_missing([a_product("1"), a_product("2")])
    await store.change("1", renamed)
    await store.delete("2", anything_goes)
    async with opened("catalog", url) as second:
        other = SqlProductStore(second, unrelayed(outbox, second))
        demo = [a_product("1"), a_product("2"), a_product("3")]
        await asyncio.gather(store.add_missing(demo), other.add_missing(demo))
    assert {key: found.version for key, found in (await store.by_ids(["1", "2", "3"])).items()} == {"1": 2, "3": 1}


async def test_a_text_no_database_can_hold_is_refused_or_unknown(store: SqlProductStore) -> None:
    """U+0000, which PostgreSQL cannot store, is at worst bad input, never a failure of ours."""
    (answer,) = await asyncio.gather(store.by_ids(["\0"]), return_exceptions=True)
    assert answer == {} or (isinstance(answer, ShopError) and answer.code == "INVALID_INPUT")
