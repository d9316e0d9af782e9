"""The store of outgoing webhooks' deliveries, on every database: what happens at the same time is not undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from chassis import wall_clock
from chassis.broker.port import Event
from chassis.database.database import database
from chassis.settings import ProcessSettings
from webhooks.bootstrap import MIGRATIONS
from webhooks.incoming.sql_store import inbox
from webhooks.outgoing import domain
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, RetryPolicy, Status
from webhooks.outgoing.sql_store import SqlDeliveryStore, SqlEndpointStore

WEEK = timedelta(days=7)
decide = partial(domain.after_attempt, policy=RetryPolicy([], timedelta(days=5), 60.0))


@dataclass
class Stores:
    deliveries: SqlDeliveryStore
    endpoints: SqlEndpointStore

    async def sent(self) -> tuple[Endpoint, Delivery]:
        """An endpoint and a delivery that is on its way to it."""
        endpoint = Endpoint(f"we_{uuid4().hex}", "123", False, "http://x", ["order.*"], "", "whsec_x", wall_clock.now())
        await self.endpoints.add(endpoint, most=20)
        event = Event(uuid4().hex, "order.paid", "/orders", "o1", wall_clock.now(), b"{}", {"userid": "123"})
        await self.deliveries.fan_out(event, "123", b"{}")
        _, [delivery] = await self.deliveries.due(endpoint.id, wall_clock.now(), 4)
        return endpoint, delivery

    async def delivery(self, like: Delivery) -> Delivery:
        found = await self.deliveries.get(like.endpoint_id, like.id)
        assert found is not None
        return found

    async def endpoint(self, like: Endpoint) -> Endpoint:
        found = await self.endpoints.get(like.id)
        assert found is not None
        return found


@pytest.fixture
async def stores(database_url: str, tmp_path: Path) -> AsyncIterator[Stores]:
    url = ProcessSettings(data_dir=tmp_path, database_url=database_url).database("webhooks")
    async with database(url, MIGRATIONS, create=True) as db:
        yield Stores(SqlDeliveryStore(db, inbox), SqlEndpointStore(db))


def answered(status: int) -> Attempt:
    return Attempt(1, wall_clock.now(), 5, status)


async def test_redelivery_that_is_requested_during_an_attempt_is_made(stores: Stores) -> None:
    """The attempt is kept, and whatever became of it, the delivery is still due."""
    _, sent = await stores.sent()
    await stores.deliveries.redeliver(domain.retried(sent, wall_clock.now()))
    await stores.deliveries.record(sent, answered(500), decide)
    after = await stores.delivery(sent)
    assert (after.status, after.attempts, [each.status_code for each in after.made]) == (Status.PENDING, 1, [500])
    _, due = await stores.deliveries.due(sent.endpoint_id, wall_clock.now(), 4)
    assert [each.id for each in due] == [sent.id]


async def test_redelivery_is_recorded_however_old_what_it_was_requested_for(stores: Stores) -> None:
    """An attempt that ends between its owner's look and the request counts, and so does the next one."""
    _, sent = await stores.sent()
    seen = await stores.delivery(sent)
    await stores.deliveries.record(sent, answered(500), decide)
    await stores.deliveries.redeliver(domain.retried(seen, wall_clock.now()))
    _, [again] = await stores.deliveries.due(sent.endpoint_id, wall_clock.now(), 4)
    await stores.deliveries.record(again, answered(200), decide)
    after = await stores.delivery(sent)
    assert after.status is Status.DELIVERED
    assert [(each.number, each.status_code) for each in after.made] == [(1, 500), (2, 200)]


async def test_success_ends_a_time_of_failures_for_attempts_that_began_before_it(stores: Stores) -> None:
    """One that fails after it begins a new time of failures, and disables no endpoint."""
    endpoint, first = await stores.sent()
    _, second = await stores.sent()
    second = replace(second, endpoint_id=endpoint.id)
    await stores.endpoints.update(endpoint.id, {"failing_since": datetime.now(UTC) - WEEK})
    await stores.deliveries.record(first, answered(200), decide)
    failed = answered(500)
    await stores.deliveries.record(second, failed, decide)
    after = await stores.endpoint(endpoint)
    assert (after.enabled, after.failing_since) == (True, failed.at)


async def test_change_leaves_what_an_attempt_found_out_meanwhile(stores: Stores) -> None:
    """An endpoint that answered 410 while its owner changed its description stays disabled."""
    endpoint, sent = await stores.sent()
    await stores.deliveries.record(sent, answered(410), decide)
    await stores.endpoints.update(endpoint.id, {"description": "new", "event_types": ["order.paid"]})
    after = await stores.endpoint(endpoint)
    assert (after.enabled, after.description, after.event_types) == (False, "new", ["order.paid"])
    assert after.disabled_reason == "it answered 410 Gone"
