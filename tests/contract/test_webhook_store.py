"""The promises of the store of received webhooks, of both its adapters, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from chassis import wall_clock
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


async def marked(store: SqlWebhookStore, webhook_id: str, outcome: Outcome = Outcome.APPLIED) -> None:
    """Read a webhook, and mark it processed."""
    webhook = await store.get(webhook_id)
    assert webhook is not None
    await store.mark_processed(webhook, outcome)


async def found(store: SqlWebhookStore, webhook_id: str) -> tuple[Status, Outcome | None, int, str]:
    webhook = await store.get(webhook_id)
    assert webhook is not None
    return webhook.status, webhook.outcome, webhook.attempts, webhook.error


async def test_each_webhook_has_its_own_outcome(store: SqlWebhookStore) -> None:
    """Three hundred that are processed at the same time are each marked with their outcome; another is untouched."""
    outcomes = [Outcome.APPLIED if number % 3 else Outcome.IGNORED for number in range(MANY - 1)]
    await asyncio.gather(*(marked(store, f"w{number}", each) for number, each in enumerate(outcomes)))
    for number, outcome in enumerate(outcomes):
        assert await found(store, f"w{number}") == (Status.PROCESSED, outcome, 1, "")
    assert await found(store, f"w{MANY - 1}") == (Status.RECEIVED, None, 0, "")


async def test_failure_before_the_success_is_counted(store: SqlWebhookStore) -> None:
    """A webhook that failed first keeps the number of its attempts, and loses its error."""
    await store.mark_failed("w1", "no such order")
    assert await found(store, "w1") == (Status.FAILED, None, 1, "no such order")
    await marked(store, "w1")
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 2, "")


async def test_processed_webhook_stays_as_it_is(store: SqlWebhookStore) -> None:
    """Neither a repeat, nor another outcome, nor a late failure changes what has been processed."""
    await asyncio.gather(*(marked(store, "w1") for _ in range(5)))
    await marked(store, "w1", Outcome.IGNORED)
    await store.mark_failed("w1", "too late")
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 1, "")


async def test_unknown_webhook_is_left_out(store: SqlWebhookStore) -> None:
    """An id that is not there keeps no other from being marked."""
    webhook = await store.get("w1")
    assert webhook is not None
    gone = replace(webhook, id="gone")
    await asyncio.gather(*(store.mark_processed(each, Outcome.APPLIED) for each in (gone, webhook)))
    assert await store.get("gone") is None
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 1, "")


async def test_replay_during_an_attempt_is_not_lost(store: SqlWebhookStore) -> None:
    """A webhook that is replayed while an older attempt processes it waits for its next attempt."""
    before = await store.get("w1")
    assert before is not None
    await store.replay(["w1"], by="an operator", reason="the effect was wrong", at=wall_clock.now())
    await store.mark_processed(before, Outcome.APPLIED)
    assert await found(store, "w1") == (Status.RECEIVED, None, 0, "")
    await marked(store, "w1")
    assert await found(store, "w1") == (Status.PROCESSED, Outcome.APPLIED, 1, "")


async def test_marks_in_any_order_do_not_wait_for_each_other(store: SqlWebhookStore) -> None:
    """Rows that are published and processed at the same time, each list in its own order, are all marked."""
    webhooks = [webhook for number in range(MANY) if (webhook := await store.get(f"w{number}")) is not None]
    backwards = [store.mark_processed(webhook, Outcome.APPLIED) for webhook in reversed(webhooks)]
    await asyncio.gather(store.mark_published(webhooks), *backwards, store.mark_published(webhooks[::-1]))
    assert {(await found(store, webhook.id))[0] for webhook in webhooks} == {Status.PROCESSED}
    assert await store.unpublished(MANY) == []
