"""What is over is forgotten after a time, a little at a time; what waits, or has failed, is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.schema import Table

from chassis.database.database import Database, database
from chassis.errors import ShopError, not_found
from partners import senders
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, Receiver, Start
from tests.webhooks.outbound import CUSTOMER, Outbound, Partner, order_event, outbound, partner
from webhooks.bootstrap import MIGRATIONS
from webhooks.incoming.sql_store import SqlWebhookStore, inbox, webhook_replays
from webhooks.outgoing.ports import QUEUE
from webhooks.outgoing.sql_store import SqlDeliveryStore
from webhooks.outgoing.sql_store.tables import attempts
from webhooks.retention import Retention


def later() -> datetime:
    """When everything that there is now is old."""
    return datetime.now(UTC) + timedelta(hours=1)


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


async def receives(receiver: Receiver, event_id: str) -> None:
    obj = {"id": "pi_1", "metadata": {"order_id": "77"}}
    webhook = senders.stripe("payment_intent.succeeded", obj, secret=SECRETS["stripe"], event_id=event_id)
    assert (await receiver.send(webhook)).status_code == 200


async def becomes(receiver: Receiver, event_id: str, status: str) -> str:
    """The webhook's id, once it is in this state and its announcement is noted."""

    async def probe() -> str | None:
        found = [row for row in await receiver.rows() if row["provider_event_id"] == event_id]
        return next((row["id"] for row in found if row["status"] == status and row["published_at"]), None)

    return await eventually(probe)


async def kept(receiver: Receiver) -> set[str]:
    return {row["provider_event_id"] for row in await receiver.rows()}


async def count(db: Database, table: Table) -> int:
    async with db.reading() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


async def test_what_was_processed_is_forgotten(start: Start, database_url: str) -> None:
    """Processed webhooks go with their audit, once they are old; what has failed or is replayed just now stays."""
    async with start(database_url=database_url) as receiver, receiver.database() as db:
        store = SqlWebhookStore(db)
        for event_id in ("evt_done", "evt_replayed"):
            await receives(receiver, event_id)
            await becomes(receiver, event_id, "processed")
        receiver.shop.failure = not_found("order", "77")
        await receives(receiver, "evt_failed")
        await becomes(receiver, "evt_failed", "failed")
        receiver.shop.failure = None
        receiver.shop.open.clear()
        done, replayed = [await becomes(receiver, f"evt_{name}", "processed") for name in ("done", "replayed")]
        await store.replay([replayed], by="1", reason="", at=datetime.now(UTC))

        assert await store.delete_expired(long_ago(), 10) == 0
        assert await store.delete_expired(later(), 10) == 1
        assert await kept(receiver) == {"evt_replayed", "evt_failed"}
        assert await store.get(done) is None
        assert await count(db, webhook_replays) == 1

        receiver.shop.open.set()
        await becomes(receiver, "evt_replayed", "processed")
        assert await store.delete_expired(later(), 10) == 1
        assert await kept(receiver) == {"evt_failed"}
        assert await count(db, webhook_replays) == 0


async def test_a_replay_begins_the_time_anew(start: Start, database_url: str) -> None:
    """What counts is when a webhook was last announced: replayed now, one that came long ago is not old."""
    async with start(database_url=database_url) as receiver, receiver.database() as db:
        store = SqlWebhookStore(db)
        await receives(receiver, "evt_1")
        webhook_id = await becomes(receiver, "evt_1", "processed")
        between = datetime.now(UTC)
        await store.replay([webhook_id], by="1", reason="", at=between)
        await eventually(lambda: len(receiver.shop.told) == 2)
        await becomes(receiver, "evt_1", "processed")
        assert await store.delete_expired(between, 10) == 0
        assert await store.delete_expired(later(), 10) == 1


@asynccontextmanager
async def sent(ours: Outbound, database_url: str) -> AsyncIterator[tuple[SqlDeliveryStore, Database]]:
    async with database(ours.settings.database("webhooks"), MIGRATIONS) as db:
        yield SqlDeliveryStore(db, inbox), db


@pytest.fixture
async def theirs() -> AsyncIterator[Partner]:
    async with partner() as receiver:
        yield receiver


async def test_what_was_sent_or_given_up_is_forgotten(tmp_path: Path, theirs: Partner, database_url: str) -> None:
    """Deliveries that came to an end go with their attempts, once they are old; what is to be sent stays."""
    theirs.statuses["/failing"] = [500] * 3
    theirs.statuses["/busy"] = [503]
    theirs.retry_after["/busy"] = "1800"
    async with outbound(tmp_path, database_url=database_url) as ours, sent(ours, database_url) as (store, db):
        api = await ours.customer()
        ids = {path: (await api.register(f"{theirs.url}{path}")).endpoint.id for path in ("/hook", "/failing", "/busy")}
        await ours.happens()
        delivered = await eventually(lambda: api.the_delivery(ids["/hook"], "delivered"))
        await eventually(lambda: api.the_delivery(ids["/failing"], "failed"))
        await eventually(lambda: len(theirs.of("/busy")) == 1)

        assert await store.delete_expired(long_ago(), 10) == 0
        assert await store.delete_expired(later(), 1) == 1
        assert await store.delete_expired(later(), 10) == 1
        assert [len(await api.deliveries(endpoint_id)) for endpoint_id in ids.values()] == [0, 0, 1]
        await eventually(lambda: _is_count(db, attempts, 1))
        gone = pb.RedeliverRequest(endpoint_id=ids["/hook"], delivery_id=delivered.id)
        with pytest.raises(ShopError, match="NOT_FOUND"):
            await api.client.call(api.endpoints.Redeliver, gone)


async def _is_count(db: Database, table: Table, number: int) -> bool:
    return await count(db, table) == number


async def test_what_is_asked_for_again_is_not_forgotten(tmp_path: Path, theirs: Partner, database_url: str) -> None:
    """A delivery that is to be sent again waits like a new one."""
    async with outbound(tmp_path, database_url=database_url) as ours, sent(ours, database_url) as (store, _):
        api = await ours.customer()
        endpoint_id = (await api.register(f"{theirs.url}/hook")).endpoint.id
        await ours.happens()
        done = await eventually(lambda: api.the_delivery(endpoint_id, "delivered"))
        theirs.statuses["/hook"] = [503]
        theirs.retry_after["/hook"] = "1800"
        await api.client.call(
            api.endpoints.Redeliver, pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id=done.id)
        )
        await eventually(lambda: len(theirs.requests) == 2)
        assert await store.delete_expired(later(), 10) == 0


async def test_an_event_without_endpoints_leaves_nothing(tmp_path: Path, theirs: Partner, database_url: str) -> None:
    """Where no endpoint wants an event, nothing is written that would have to be forgotten."""
    async with outbound(tmp_path, database_url=database_url) as ours, sent(ours, database_url) as (store, db):
        api = await ours.customer()
        await api.register(f"{theirs.url}/hook", "order.shipped")
        assert await store.fan_out(order_event("order.paid", CUSTOMER, "1"), CUSTOMER, b"{}") == 0
        assert await store.fan_out(order_event("order.shipped", CUSTOMER, "2"), "another customer", b"{}") == 0
        assert await count(db, inbox) == 0
        assert await store.fan_out(order_event("order.shipped", CUSTOMER, "3"), CUSTOMER, b"{}") == 1
        assert await count(db, inbox) == 1


async def test_that_an_event_was_handled_is_forgotten(tmp_path: Path, theirs: Partner, database_url: str) -> None:
    """The inbox does not grow for ever, and forgets what is old only."""
    async with outbound(tmp_path, database_url=database_url) as ours, sent(ours, database_url) as (store, db):
        api = await ours.customer()
        await api.register(f"{theirs.url}/hook")
        for number in range(3):
            assert await store.fan_out(order_event("order.paid", CUSTOMER, str(number)), CUSTOMER, b"{}") == 1
        assert await store.delete_events(long_ago(), 10) == 0
        assert await store.delete_events(later(), 2) == 2
        assert await store.delete_events(later(), 2) == 1
        assert await count(db, inbox) == 0


async def test_a_round_forgets_all_that_is_old(tmp_path: Path) -> None:
    """However much is over, one round forgets it, in batches."""
    async with outbound(tmp_path) as ours, sent(ours, "") as (store, db):
        handled = [{"consumer": QUEUE, "event_id": str(number), "handled_at": long_ago()} for number in range(450)]
        async with db.transaction() as connection:
            await connection.execute(inbox.insert(), handled)
        retention = Retention(db, store.delete_events, keep=timedelta(minutes=30), every=timedelta(hours=1))
        assert await retention.delete_expired(datetime.now(UTC)) == 450
        assert await count(db, inbox) == 0


async def test_the_worker_forgets_by_itself(start: Start) -> None:
    """By its settings, the running worker forgets what it has processed."""
    async with start(webhooks_keep=0.0, webhooks_forget_every=0.05) as receiver:
        await receives(receiver, "evt_1")
        await eventually(lambda: receiver.shop.told)

        async def forgotten() -> bool:
            return await receiver.rows() == []

        await eventually(forgotten)
