"""The inbox's promise: an event that comes again changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update

from chassis.background import background
from chassis.broker.inbox import INBOX_KEEP, Inbox
from chassis.database.database import Database
from services.catalog.sql_store import inbox
from tests.contract.databases import opened, url_of
from tests.waiting import eventually


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("catalog", database_url, tmp_path)


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with opened("catalog", url) as found:
        yield found


async def test_each_consumer_handles_an_event_once(db: Database) -> None:
    """An event is new to a consumer once; another consumer's handling of it is its own."""
    handled = Inbox(inbox)
    answers = await db.write(
        lambda connection: [handled.first_time(connection, consumer, "e") for consumer in ("mail", "mail", "stock")]
    )
    assert answers == [True, False, True]


async def test_failed_handling_may_come_again(db: Database) -> None:
    """An effect that was rolled back has not been handled."""
    handled = Inbox(inbox)

    def failing(connection: Connection) -> None:
        assert handled.first_time(connection, "mail", "e")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await db.write(failing)
    assert await db.write(lambda connection: handled.first_time(connection, "mail", "e"))


async def test_of_many_at_once_one_handles_it(url: str, db: Database) -> None:
    """An event delivered to twenty handlers of two processes at once has its effect in one of them."""

    async def handle(where: Database) -> bool:
        return await where.write(lambda connection: Inbox(inbox).first_time(connection, "mail", "e"))

    async with opened("catalog", url) as second:
        answers = await asyncio.gather(*(handle(each) for each in [db, second] * 10))
    assert sum(answers) == 1


async def test_events_handled_long_ago_are_deleted_in_batches(db: Database) -> None:
    """The pruning deletes more events than one batch holds, of every consumer, and leaves those that are still kept."""
    handled = Inbox(inbox)

    def record(connection: Connection) -> None:
        for number in range(450):
            handled.first_time(connection, ("mail", "stock")[number % 2], f"old-{number}")
        expired = datetime.now(UTC) - INBOX_KEEP - timedelta(hours=1)
        connection.execute(update(inbox).values(handled_at=expired))
        handled.first_time(connection, "mail", "fresh")
        # Kept, though an hour from the end, and though the same event's other handling is over.
        kept = datetime.now(UTC) - INBOX_KEEP + timedelta(hours=1)
        handled.first_time(connection, "stock", "old-0")
        connection.execute(
            update(inbox).where(inbox.c.consumer == "stock", inbox.c.event_id == "old-0").values(handled_at=kept)
        )

    await db.write(record)

    async def left() -> bool:
        async with db.reading() as connection:
            rows = await connection.execute(select(inbox.c.consumer, inbox.c.event_id))
            return {tuple(row) for row in rows} == {("mail", "fresh"), ("stock", "old-0")}

    async with background(handled.pruning(db)):
        await eventually(left)
