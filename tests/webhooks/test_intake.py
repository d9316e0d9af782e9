"""The intake's log on SQLite: emptied beside the commits, and bounded whatever comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chassis.database.database import database
from tests.waiting import eventually
from webhooks.bootstrap import MIGRATIONS
from webhooks.incoming.domain import Webhook
from webhooks.incoming.intake.sqlite import MAX_LOG, SqliteIntake, sqlite_intake

PAGE = 4_096


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    path = tmp_path / "webhooks.sqlite"
    async with database(f"sqlite:///{path}", MIGRATIONS):
        return path


@pytest.fixture
async def intake(file: Path) -> AsyncIterator[SqliteIntake]:
    async with sqlite_intake(str(file)) as opened:
        yield opened


def webhook(number: int, size: int) -> Webhook:
    body = b"x" * size
    return Webhook(f"{number:032x}", "stripe", f"evt_{number}", "test", body, {}, datetime.now(UTC))


def length(file: Path, suffix: str = "") -> int:
    return Path(f"{file}{suffix}").stat().st_size


async def keep(intake: SqliteIntake, numbers: range, size: int) -> None:
    assert all(await asyncio.gather(*(intake.add(webhook(number, size)) for number in numbers)))


async def test_the_log_is_emptied_beside_the_commits(intake: SqliteIntake, file: Path) -> None:
    """What was kept reaches the database file soon, long before a commit would have to do it."""
    before = length(file)
    await keep(intake, range(1_100), 100)
    assert length(file, "-wal") < MAX_LOG * PAGE
    await eventually(lambda: length(file) > before)


async def test_the_log_is_bounded(intake: SqliteIntake, file: Path) -> None:
    """However much comes without a pause, the log does not grow beyond its bound by more than one group."""
    for start in range(0, 12_000, 2_000):
        await keep(intake, range(start, start + 2_000), PAGE)
    assert length(file, "-wal") < (MAX_LOG + 128 * 4) * (PAGE + 24)
