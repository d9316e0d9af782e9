"""Every way in which SQLite says "not now" is STORE_UNAVAILABLE; afterwards the same write succeeds."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from chassis.database.database import Database
from chassis.errors import StoreUnavailable
from tests.contract.databases import opened, url_of

# More bytes than a full file has left in its pages.
_SIZE = 1 << 20


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened("orders", url_of("orders", "", tmp_path)) as found:
        await found.write(lambda rows: rows.execute(text("CREATE TABLE kept (number INTEGER, content BLOB)")))
        yield found


def insert(rows: Connection) -> None:
    rows.execute(text("INSERT INTO kept VALUES (1, zeroblob(:size))"), {"size": _SIZE})


def _count(rows: Connection) -> int:
    return int(rows.scalar(text("SELECT count(*) FROM kept")) or 0)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process in the midst of a transaction that it does not end."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.parametrize("block", [False, True], ids=["write", "transaction"])
async def test_file_that_another_process_has_locked(db: Database, tmp_path: Path, *, block: bool) -> None:
    """A writer that waited too long for its turn gets an error; readers are served meanwhile."""
    with locked(tmp_path / "orders.sqlite"):
        with pytest.raises(StoreUnavailable) as refused:
            if block:
                async with db.transaction() as connection:
                    await connection.run_sync(insert)
            else:
                await db.write(insert)
        assert refused.value.retry_after
        assert await db.read(_count) == 0
    await db.write(insert)
    assert await db.read(_count) == 1


def full(rows: Connection) -> None:
    """Leave the file no room to grow."""
    pages = rows.scalar(text("PRAGMA page_count"))
    rows.execute(text(f"PRAGMA max_page_count = {pages}"))


def roomy(rows: Connection) -> None:
    rows.execute(text("PRAGMA max_page_count = 1073741823"))


def read_only(rows: Connection) -> None:
    """Take the right to write away, as a file system does that was mounted read-only after an error."""
    rows.execute(text("PRAGMA query_only = ON"))


def writable(rows: Connection) -> None:
    rows.execute(text("PRAGMA query_only = OFF"))


@pytest.mark.parametrize(
    ("begin", "end", "cause"), [(full, roomy, "full"), (read_only, writable, "readonly")], ids=["full", "read-only"]
)
@pytest.mark.parametrize("block", [False, True], ids=["write", "transaction"])
async def test_file_that_takes_no_more(
    db: Database,
    *,
    begin: Callable[[Connection], None],
    end: Callable[[Connection], None],
    cause: str,
    block: bool,
) -> None:
    """A write that fails raises an error, none of it stays, and the next writer finds no transaction in its way."""

    def refuse(rows: Connection) -> None:
        begin(rows)
        try:
            insert(rows)
        finally:
            end(rows)

    for _ in range(3):
        with pytest.raises(StoreUnavailable) as refused:
            if block:
                async with db.transaction() as connection:
                    await connection.run_sync(refuse)
            else:
                await db.write(refuse)
        assert cause in str(refused.value.__cause__)
        assert refused.value.retry_after
        assert await db.read(_count) == 0
    await db.write(insert)
    assert await db.read(_count) == 1
