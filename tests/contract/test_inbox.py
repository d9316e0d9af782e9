"""The inbox's promise: an event that comes again changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from chassis.broker.inbox import Inbox
from chassis.database import Database
from services.catalog.sql_store import inbox
from tests.contract.databases import opened, url_of


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
