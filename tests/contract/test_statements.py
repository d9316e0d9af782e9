"""Statements in `Database.read` and `Database.write`: what one means is the same however often it is run.

On PostgreSQL they go to asyncpg without SQLAlchemy's layer, compiled once: each of these is run several times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Row,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, ProgrammingError, StatementError

from chassis.database.database import Database, UtcTime, database, insert_missing, insert_or_add, insert_or_lock
from chassis.errors import Kind, ShopError
from services.orders.bootstrap import MIGRATIONS
from tests.contract.databases import opened, url_of

TIMES = 4
metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("made_at", UtcTime),
    Column("kept", Boolean),
    Column("data", LargeBinary),
)
numbered = Table(
    "numbered",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("name", Text),
    Column("price", Numeric(10, 2)),
)

ADD = things.insert()
BY_ID = select(things).where(things.c.id == bindparam("id"))
ALL_IDS = select(things.c.id).order_by(things.c.id)
SOME = ALL_IDS.where(things.c.id.in_(bindparam("ids", expanding=True)))
COUNT_UP = (
    update(things)
    .where(things.c.id == bindparam("at"))
    .values(number=things.c.number + bindparam("by", type_=BigInteger))
)
COUNTED_UP = COUNT_UP.returning(things.c.number, things.c.made_at)
SET = update(things).where(things.c.id == bindparam("at"))
REMOVE = delete(things).where(things.c.number >= bindparam("least"))
LARGE = select(func.count().label("large"), func.max(things.c.number)).where(things.c.number > 5)
MADE = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)


@pytest.fixture
async def db(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened("orders", url_of("orders", database_url, tmp_path)) as found:
        async with found.transaction() as connection:
            await connection.run_sync(metadata.create_all)
        yield found


def thing(id_: str, **changes: Any) -> dict[str, Any]:
    return {"id": id_, "number": 1, "made_at": None, "kept": None, "data": None} | changes


async def test_values_come_back_as_they_went(db: Database) -> None:
    """Every type survives, with its zone, its digits and its absence, in rows with names."""
    row = thing("a", number=2**40, made_at=MADE.astimezone(timezone(timedelta(hours=2))), data=b"\0\xff")
    for number in range(TIMES):
        await db.write(lambda rows, id_=f"a{number}": rows.execute(ADD, row | {"id": id_, "kept": True}))  # type: ignore[misc]
    for number in range(TIMES):
        found = await db.read(lambda rows, id_=f"a{number}": rows.execute(BY_ID, {"id": id_}).one())  # type: ignore[misc]
        assert isinstance(found, Row)
        assert found.made_at == MADE
        assert found.made_at.tzinfo is not None
        assert tuple(found) == (f"a{number}", 2**40, found.made_at, True, b"\0\xff")
        assert found._mapping["number"] == 2**40


async def test_each_way_to_take_rows(db: Database) -> None:
    """One, first, all, scalars and iteration take what they take of SQLAlchemy's result."""
    await db.write(lambda rows: rows.execute(ADD, [thing("a"), thing("b", number=7), thing("c", number=9)]))

    def taken(rows: Connection) -> list[Any]:
        return [
            rows.execute(BY_ID, {"id": "none"}).one_or_none(),
            rows.execute(ALL_IDS).first(),
            rows.execute(ALL_IDS).all(),
            rows.scalars(ALL_IDS).all(),
            rows.scalar(ALL_IDS),
            [row.id for row in rows.execute(ALL_IDS)],
            rows.execute(LARGE).one().large,
            tuple(rows.execute(LARGE).one()),
        ]

    expected = [None, ("a",), [("a",), ("b",), ("c",)], ["a", "b", "c"], "a", ["a", "b", "c"], 2, (2, 9)]
    for _ in range(TIMES):
        assert await db.read(taken) == expected


async def test_lists_of_any_length(db: Database) -> None:
    """An IN takes lists of changing lengths, also an empty one."""
    await db.write(lambda rows: rows.execute(ADD, [thing("a"), thing("b"), thing("c")]))
    for ids in (["a"], ["a", "b"], [], ["c", "b", "a"], ["x"], ["b"]):
        found = await db.read(lambda rows, ids=ids: rows.scalars(SOME, {"ids": ids}).all())  # type: ignore[misc]
        assert found == sorted({"a", "b", "c"} & set(ids))


async def test_values_that_a_statement_holds(db: Database) -> None:
    """A statement that is built anew for each use has its own values, also where it is compiled like the last one."""
    await db.write(lambda rows: rows.execute(ADD, [thing(id_, number=-1) for id_ in "abcd"]))
    for number in range(TIMES):
        ids = list("abcd"[: number + 1])
        change = update(things).where(things.c.id.in_(ids)).values(number=number, made_at=MADE + timedelta(number))
        chosen = select(things.c.number, things.c.made_at).where(things.c.number == number).limit(number)
        assert await db.write(lambda rows, change=change: rows.execute(change).rowcount) == len(ids)  # type: ignore[misc]
        found = await db.read(lambda rows, chosen=chosen: rows.execute(chosen).all())  # type: ignore[misc]
        assert found == [(number, MADE + timedelta(number))] * number


async def test_counts_of_rows(db: Database) -> None:
    """An insert, an update and a delete say how many rows they concerned, however often they are run."""
    await db.write(lambda rows: rows.execute(ADD, [thing("a"), thing("b", number=5)]))

    def changed(rows: Connection) -> tuple[int, ...]:
        missing = insert_missing(rows, things)
        return (
            rows.execute(missing, thing("a")).rowcount,
            rows.execute(missing, thing("new", number=8)).rowcount,
            rows.execute(COUNT_UP, {"at": "a", "by": 1}).rowcount,
            rows.execute(COUNT_UP, {"at": "none", "by": 1}).rowcount,
            rows.execute(REMOVE, {"least": 8}).rowcount,
            rows.execute(insert_or_lock(rows, things), thing("b", number=5)).rowcount,
        )

    for _ in range(TIMES):
        assert await db.write(changed) == (0, 1, 1, 0, 1, 1)


async def test_an_insert_that_adds_up(db: Database) -> None:
    """An existing row is added to in the named columns and has its others replaced; a new row is inserted."""
    for count in range(1, TIMES + 1):
        new = [thing("a", number=2, made_at=MADE), thing(f"b{count}", number=5)]

        def adding(rows: Connection, new: list[dict[str, Any]] = new) -> None:
            rows.execute(insert_or_add(rows, things, things.c.number), new)

        await db.write(adding)
        found = await db.read(lambda connection: connection.execute(select(things).order_by(things.c.id)).all())
        assert [(row.id, row.number) for row in found] == [
            ("a", 2 * count),
            *((f"b{number}", 5) for number in range(1, count + 1)),
        ]
        assert found[0].made_at == MADE


async def test_rows_that_are_missing_are_added(db: Database) -> None:
    """A row that is there stays as it is, and those beside it are added."""
    await db.add_missing(things, [thing("a", number=1)])
    await db.add_missing(things, [thing("a", number=2), thing("b", number=3)])
    found = await db.read(lambda connection: connection.execute(select(things).order_by(things.c.id)).all())
    assert [(row.id, row.number) for row in found] == [("a", 1), ("b", 3)]


async def test_statements_are_counted(database_url: str, tmp_path: Path) -> None:
    """Each statement is counted as it is sent, and one of several rows for each of them."""
    sent: list[int] = []
    url = url_of("orders", database_url, tmp_path)
    async with database(url, MIGRATIONS, create=True, on_statements=sent.append) as db:
        async with db.transaction() as connection:
            await connection.run_sync(metadata.create_all)
        for read in range(1, TIMES + 1):
            sent.clear()
            await db.read(lambda rows: rows.execute(ALL_IDS).all())
            assert sum(sent) == 1
            sent.clear()
            await db.add_missing(things, [thing(f"a{read}"), thing(f"b{read}")])
            assert sum(sent) == (3 if db.is_sqlite else 2)  # with its BEGIN


async def test_what_a_change_returns(db: Database) -> None:
    """An update that returns columns returns their new values, and nothing where it found no row."""
    await db.write(lambda rows: rows.execute(ADD, thing("a", made_at=MADE)))
    for number in range(TIMES):
        found = await db.write(lambda rows: rows.execute(COUNTED_UP, {"at": "a", "by": 2}).one())
        assert (found.number, found.made_at) == (3 + 2 * number, MADE)
        assert await db.write(lambda rows: rows.execute(COUNTED_UP, {"at": "x", "by": 2}).one_or_none()) is None


async def test_a_statement_that_is_made_of_another(db: Database) -> None:
    """An insert that returns columns returns them, whatever the insert it was made of was used for."""
    for number in range(TIMES):
        row, more = thing(f"a{number}"), [thing(f"b{number}"), thing(f"c{number}")]

        def adding(rows: Connection, row: dict[str, Any] = row, more: list[dict[str, Any]] = more) -> list[Any]:
            returning = insert_missing(rows, things).returning(things.c.id)
            return [
                rows.execute(insert_missing(rows, things), row).rowcount,
                rows.scalars(returning, [row]).all(),
                rows.scalars(returning, more[:1]).all(),
                rows.scalars(returning, more).all(),
            ]

        assert await db.write(adding) == [1, [], [f"b{number}"], [f"c{number}"]]


async def test_columns_are_those_that_are_given(db: Database) -> None:
    """One statement sets the columns of its parameters, others the next time."""
    await db.write(lambda rows: rows.execute(ADD, thing("a")))
    for number in range(TIMES):
        await db.write(lambda rows, number=number: rows.execute(SET, {"at": "a", "number": number}))  # type: ignore[misc]
        await db.write(lambda rows: rows.execute(SET, {"at": "a", "made_at": MADE, "kept": False}))
        found = await db.read(lambda rows: rows.execute(BY_ID, {"id": "a"}).one())
        assert (found.number, found.kept, found.made_at) == (number, False, MADE)


async def test_many_rows_and_keys_that_the_database_makes(db: Database) -> None:
    """A list of rows is one step; keys that the database makes need no value."""
    insert = numbered.insert()
    for names in (["a"], ["b", "c"], ["d", "e", "f"], ["g"]):
        rows = [{"name": name} for name in names]
        await db.write(lambda connection, rows=rows: connection.execute(insert, rows))  # type: ignore[misc]
    await db.write(lambda connection: connection.execute(insert, {"name": "h", "price": Decimal("12.50")}))
    prices = select(numbered.c.price).where(numbered.c.name == "h")
    assert [await db.read(lambda rows: rows.scalar(prices)) for _ in range(TIMES)] == [Decimal("12.50")] * TIMES
    statement = select(numbered.c.name).order_by(numbered.c.position)
    assert await db.read(lambda rows: rows.scalars(statement).all()) == list("abcdefgh")


async def test_many_rows_are_all_or_nothing(db: Database) -> None:
    """Of a list of rows with one that is refused, none stays."""
    for _ in range(TIMES):
        with pytest.raises(IntegrityError):
            await db.write(lambda rows: rows.execute(ADD, [thing("a"), thing("b"), thing("a")]))
        assert await db.read(lambda rows: rows.scalars(ALL_IDS).all()) == []


async def test_a_refused_row_is_an_integrity_error(db: Database) -> None:
    """A row that is there already raises SQLAlchemy's error and undoes its transaction; the next one works."""
    await db.write(lambda rows: rows.execute(ADD, thing("a")))

    def refused(rows: Connection) -> None:
        rows.execute(COUNT_UP, {"at": "a", "by": 1})
        rows.execute(ADD, thing("a"))

    for _ in range(TIMES):
        with pytest.raises(IntegrityError):
            await db.write(refused)
        assert await db.read(lambda rows: rows.execute(BY_ID, {"id": "a"}).one().number) == 1


async def test_a_parameter_that_is_missing(db: Database) -> None:
    """A statement without one of its parameters is a fault of ours, each time."""
    for _ in range(TIMES):
        with pytest.raises(StatementError):
            await db.read(lambda rows: rows.execute(BY_ID, {}).all())


@pytest.mark.postgres
class TestPostgresql:
    @pytest.fixture
    def database_url(self, postgres_databases: str) -> str:
        return postgres_databases

    async def test_a_character_that_cannot_be_stored(self, db: Database) -> None:
        """U+0000 in a text is refused as the client's fault, however often."""
        for _ in range(TIMES):
            with pytest.raises(ShopError) as refused:
                await db.read(lambda rows: rows.execute(BY_ID, {"id": "a\0b"}).all())
            assert refused.value.kind is Kind.INVALID

    async def test_a_column_that_is_gone(self, db: Database) -> None:
        """A schema that changes under statements in use is an error of theirs; those it does not concern go on."""
        numbers = select(things.c.number)
        for _ in range(TIMES):
            assert await db.read(lambda rows: rows.scalars(numbers).all()) == []
        await db.write(lambda rows: rows.execute(text("ALTER TABLE things ADD COLUMN extra TEXT")))
        assert await db.read(lambda rows: rows.scalars(numbers).all()) == []
        await db.write(lambda rows: rows.execute(text("ALTER TABLE things DROP COLUMN number")))
        for _ in range(TIMES):
            with pytest.raises(ProgrammingError):
                await db.read(lambda rows: rows.scalars(numbers).all())
        assert await db.read(lambda rows: rows.scalars(ALL_IDS).all()) == []

    async def test_more_at_once_than_there_are_connections(self, db: Database) -> None:
        """Reads and writes in any number wait for one another, and blocks that await get their turn among them."""
        await db.write(lambda rows: rows.execute(ADD, thing("a")))

        async def in_a_block() -> None:
            async with db.transaction() as connection:
                await connection.execute(COUNT_UP, {"at": "a", "by": 1})

        writes = [db.write(lambda rows: rows.execute(COUNT_UP, {"at": "a", "by": 1})) for _ in range(40)]
        reads = [db.read(lambda rows: rows.execute(BY_ID, {"id": "a"}).one()) for _ in range(40)]
        await asyncio.gather(*writes, *reads, *(in_a_block() for _ in range(40)))
        assert await db.read(lambda rows: rows.execute(BY_ID, {"id": "a"}).one().number) == 81
