"""Two copies of reports at once on one database: what the one does between two steps of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from chassis.broker import connect
from chassis.broker.event_log import EventLog
from chassis.broker.groups.consumer_group import ConsumerGroup
from chassis.database.database import Database
from protos.shop.events.v1 import events_pb2
from services.reports.domain import Amounts, By, Key
from services.reports.sql_store import sales, tables
from services.reports.sql_store.generations import Generations
from services.reports.sql_store.sales import SqlSalesStore
from tests.contract.databases import opened, unrelayed, url_of
from tests.reports.conftest import SHOP_TOPOLOGY
from tests.waiting import eventually

MARCH = date(2026, 3, 5)
ON_POSTGRESQL = pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)


@asynccontextmanager
async def places(database_url: str, folder: Path) -> AsyncIterator[tuple[Database, EventLog]]:
    """The database of reports, and an event log that holds nothing."""
    broker = await connect(f"embedded:{folder / 'broker.sqlite'}", SHOP_TOPOLOGY)
    try:
        async with opened("reports", url_of("reports", database_url, folder)) as db:
            yield db, broker.log
    finally:
        await broker.close()


async def rows_of(db: Database, column: Any) -> list[Any]:
    return await db.read(lambda connection: list(connection.execute(select(column)).scalars()))


class Overtaken:
    """Fake: a database in which another copy is at work right after a read."""

    def __init__(self, db: Database, meanwhile: Callable[[], Awaitable[object]], *, after: int) -> None:
        self._db = db
        self._meanwhile = meanwhile
        self.left = after

    async def read(self, work: Callable[[Connection], Any]) -> Any:
        found = await self._db.read(work)
        self.left -= 1
        if not self.left:
            await self._meanwhile()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.mark.parametrize("after", [1, 2])
async def test_a_generation_that_begins_while_another_copy_sweeps_keeps_its_partitions(
    database_url: str, tmp_path: Path, after: int
) -> None:
    """However far the sweep of a copy is that starts at the same time."""
    async with places(database_url, tmp_path) as (db, event_log):
        generations = Generations(db, event_log, asyncio.Event())
        group = ConsumerGroup(tables.group, db, event_log)

        async def begins() -> None:
            await group._balanced(await generations.groups())

        overtaken: Any = Overtaken(db, begins, after=after)
        await Generations(overtaken, event_log, asyncio.Event())._sweep_once()
        if overtaken.left > 0:  # the sweep reads less often than that
            await begins()
        assert await rows_of(db, tables.group[0].c.consumer_group) == ["sales-1"]
        assert await rows_of(db, tables.group[0].c.owner) == [group.member]


@ON_POSTGRESQL
async def test_a_change_that_commits_while_its_day_is_published_is_published_too(
    database_url: str, tmp_path: Path
) -> None:
    """The last event about a day has its figures as they stay, whatever was under way while it was made."""
    sale = {Key(By.DAY, MARCH, "", "EUR"): Amounts(1, 1, 100)}

    def add(connection: Connection) -> None:
        sales._add(connection, 1, sale)
        sales._mark_changed(connection, {MARCH})

    async with places(database_url, tmp_path) as (db, event_log):
        group = ConsumerGroup(tables.group, db, event_log)
        generations = Generations(db, event_log, group.changed)
        store = SqlSalesStore(db, group, generations, unrelayed(tables.outbox, db))
        await group._balanced(await generations.groups())
        await db.write(add)
        async with db.transaction() as connection:
            await connection.run_sync(add)
            publishing = asyncio.create_task(store.publish_changes())

            async def has_come_to_its_rows() -> bool:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                query = text(f"{waiting} AND wait_event_type = 'Lock'")
                return publishing.done() or bool(await db.read(lambda other: other.execute(query).scalar()))

            await eventually(has_come_to_its_rows)
        await publishing
        await store.publish_changes()
        told = await db.read(lambda other: other.execute(text("SELECT data FROM outbox ORDER BY position")).scalars())
        newest = list(told)[-1]
        assert _orders(bytes(newest)) == 2


def _orders(data: bytes) -> int:
    from google.protobuf.json_format import Parse

    return int(Parse(data, events_pb2.SalesReported()).days[0].orders)


@ON_POSTGRESQL
async def test_copies_that_take_one_another_for_dead_do_not_wait_for_one_another(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a time in which neither reached the database: each frees what the other has, and renews its own."""
    async with places(database_url, tmp_path) as (db, event_log):
        monkeypatch.setattr(event_log, "partitions", _eight)
        copies = [ConsumerGroup(tables.group, db, event_log) for _ in range(2)]
        for copy in copies:
            await copy._balanced(["sales-1"])
        for copy in copies:
            monkeypatch.setattr(copy, "_unchanged", lambda *_: True)
        for _ in range(20):
            await asyncio.gather(*(copy._balanced(["sales-1"]) for copy in copies))


async def _eight() -> int:
    return 8
