"""The promises of the store of received webhooks, of both its adapters, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from chassis.database.database import Database, database
from tests.contract.databases import url_of
from webhooks.bootstrap import MIGRATIONS
from webhooks.incoming.domain import Outcome, Status
from webhooks.incoming.sql_store import SqlWebhookStore, webhooks
from webhooks.incoming.sql_store.batching import BatchingWebhookStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 300


def row(number: int) -> dict[str, object]:
    """A webhook as the intake writes it."""
    return {
        "id": f"w{number}",
        "provider": "stripe",
        "provider_event_id": f"evt_{number}",
        "event_type": "payment_intent.succeeded",
        "body": b"{}",
        "headers": "{}",
        "received_at": NOON,
        "traceparent": "",
        "status": Status.RECEIVED,
        "attempts": 0,
        "error": "",
        "replays": 0,
    }


@pytest.fixture
async def db(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(url_of("webhooks", database_url, tmp_path), MIGRATIONS, create=True) as found:
        yield found


@pytest.fixture(params=[SqlWebhookStore, BatchingWebhookStore])
async def store(request: pytest.FixtureRequest, db: Database) -> SqlWebhookStore:
    """Three hundred webhooks that were received, `w0` to `w299`."""
    await db.write(lambda connection: connection.execute(insert(webhooks), [row(number) for number in range(MANY)]))
    adapter: type[SqlWebhookStore] = request.param
    return adapter(db)


async def found(store: SqlWebhookStore, webhook_id: str) -> tuple[Status, Outcome | None, int, str]:
    webhook = await store.get(webhook_id)
    assert webhook is not None
    return webhook.status, webhook.outcome, webhook.attempts, webhook.error


async def test_each_webhook_has_its_own_outcome(store: SqlWebhookStore) -> None:
    """Three hundred that are processed at the same time are each marked with their outcome; another is untouched."""
    outcomes = [Outcome.APPLIED if number % 3 else Outcome.IGNORED for number in range(MANY - 1)]
    await asyncio.gather(*(store.mark_processed(f"w{number}", each) for number, each in enumerate(outcomes)))
    for number, outcome in enumerate(outcomes):
        assert await found(store, f"w{number}") == (Status.PROCESSED, outcome, 1, "")
    assert await found(store, f"w{MANY - 1}") == (Status.RECEIVED, None, 0, "")


async def test_failure_before_the_success_is_counted(store: SqlWebhookStore) -> None:
    """A webhook that failed first keeps the number of its attempts, and loses its error."""
    await store.mark_failed("w1", "no such order")
    assert await found(store, "w1") == (Status.FAILED, None, 1, "no such order")
    await store.mark_processed("w1", Outcome.APPLIED)
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 2, "")


async def test_processed_webhook_stays_as_it_is(store: SqlWebhookStore) -> None:
    """Neither a repeat, nor another outcome, nor a late failure changes what has been processed."""
    await asyncio.gather(*(store.mark_processed("w1", Outcome.APPLIED) for _ in range(5)))
    await store.mark_processed("w1", Outcome.IGNORED)
    await store.mark_failed("w1", "too late")
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 1, "")


async def test_unknown_webhook_is_left_out(store: SqlWebhookStore) -> None:
    """An id that is not there keeps no other from being marked."""
    await asyncio.gather(*(store.mark_processed(webhook_id, Outcome.APPLIED) for webhook_id in ("gone", "w1")))
    assert await store.get("gone") is None
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 1, "")
