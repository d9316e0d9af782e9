"""A COMMIT that SQLite refuses ends its own transaction only."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from chassis.database.database import database
from chassis.database.sqlite import Sqlite
from services.users.bootstrap import MIGRATIONS


def _enforce_references(connection: Connection) -> None:
    """A deferred foreign key is the plainest way to a COMMIT that fails after its statements have succeeded."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.commit()
    driver.execute("PRAGMA foreign_keys = ON")
    driver.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    driver.execute("CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")


def _insert_child(connection: Connection) -> None:
    connection.execute(text("INSERT INTO child VALUES (7)"))


def _insert_parent(connection: Connection) -> None:
    connection.execute(text("INSERT INTO parent VALUES (1)"))


def _insert_user(connection: Connection, user_id: str) -> None:
    values = {"id": user_id, "email": user_id, "now": "2026-01-01"}
    connection.execute(text("INSERT INTO users VALUES (:id, '', :email, '', '', :now)"), values)


def _count(connection: Connection) -> tuple[int, int]:
    row = connection.execute(text("SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)")).one()
    return row[0], row[1]


async def test_failed_commit_is_rolled_back(tmp_path: Path) -> None:
    """After a COMMIT that failed nothing of its transaction is left, and the next write commits."""
    store = Sqlite(make_url(f"sqlite:///{tmp_path / 'a.sqlite'}"))
    try:
        await store.write(_enforce_references)
        with pytest.raises(IntegrityError):
            await store.write(_insert_child)
        await store.write(_insert_parent)
        assert await store.write(_count) == (1, 0)
    finally:
        await store.close()


async def test_the_event_loop_does_not_wait_for_another_process(tmp_path: Path) -> None:
    """While another process writes, a transaction waits for it and the event loop does not."""
    file = tmp_path / "a.sqlite"
    store = Sqlite(make_url(f"sqlite:///{file}"))
    other = sqlite3.connect(file, isolation_level=None)
    try:
        await store.write(_enforce_references)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.write(_insert_parent))
        await asyncio.sleep(0)
        # Done by the event loop, which would not come to it while it waited.
        other.execute("ROLLBACK")
        await waiting
        assert await store.write(_count) == (1, 0)
    finally:
        other.close()
        await store.close()


async def test_writes_that_wait_for_another_one_share_a_commit(tmp_path: Path) -> None:
    """What comes while a commit is under way is committed together; one that fails is undone alone."""
    commits: list[Connection] = []

    def committed(connection: Connection) -> None:
        commits.append(connection)

    def failing(connection: Connection) -> None:
        _insert_user(connection, "failing")
        raise LookupError

    async with database(f"sqlite:///{tmp_path / 'a.sqlite'}", MIGRATIONS) as opened:
        await opened.write(partial(_insert_user, user_id="0"))
        event.listen(Engine, "commit", committed)
        try:
            await asyncio.gather(*(opened.write(partial(_insert_user, user_id=str(number))) for number in range(1, 11)))
            shared = len(commits)
            outcomes = await asyncio.gather(
                *(opened.write(each) for each in (partial(_insert_user, user_id="11"), failing)),
                *(opened.write(partial(_insert_user, user_id=str(number))) for number in range(12, 15)),
                return_exceptions=True,
            )
        finally:
            event.remove(Engine, "commit", committed)
        found = await opened.read(lambda connection: connection.execute(text("SELECT id FROM users")).scalars().all())
    assert shared == 2, "the first one, and those that came meanwhile"
    assert [type(outcome) for outcome in outcomes].count(LookupError) == 1
    assert sorted(map(int, found)) == list(range(15))


async def test_some_write_waits_for_the_disk_where_none_has_to(tmp_path: Path) -> None:
    """Of many writes in a row that need not be durable one is: no other moves SQLite's log into its file."""

    def synchronous(connection: Connection) -> int:
        found: int = connection.scalar(text("PRAGMA synchronous"))
        return found

    async with database(f"sqlite:///{tmp_path / 'a.sqlite'}", MIGRATIONS) as opened:
        await opened.write(synchronous)
        found = [await opened.write(synchronous, durable=False) for _ in range(600)]
    assert [number for number, level in enumerate(found, 1) if level == 2] == [256, 512]
    assert set(found) == {1, 2}


async def test_a_commit_that_is_given_up_is_not_overtaken(tmp_path: Path) -> None:
    """The next transaction begins after the commit whose caller was cancelled, and both are kept."""
    store = Sqlite(make_url(f"sqlite:///{tmp_path / 'a.sqlite'}"))
    try:
        await store.write(_enforce_references)
        for _ in range(20):
            given_up = asyncio.create_task(store.write(_insert_parent))
            await asyncio.sleep(0)
            given_up.cancel()
            await store.write(lambda connection: connection.execute(text("DELETE FROM parent")))
            await asyncio.gather(given_up, return_exceptions=True)
        assert await store.write(_count) == (0, 0)
    finally:
        await store.close()
