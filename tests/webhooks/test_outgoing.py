"""What an endpoint's owner can rely on: signed, retried, listed, re-sent, and never delayed by another endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from sqlalchemy import Connection, select, update

from chassis.database.database import database
from chassis.errors import ShopError
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from tests.waiting import eventually
from tests.webhooks.outbound import OTHER, Outbound, Partner, outbound, partner
from tests.webhooks.processes import real_process
from webhooks.bootstrap import MIGRATIONS
from webhooks.outgoing.sql_store.tables import deliveries, endpoints

MANY_DELAYS = (0.05,) * 200


@pytest.fixture
async def theirs() -> AsyncIterator[Partner]:
    async with partner() as fake:
        yield fake


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[Outbound]:
    async with outbound(tmp_path) as running:
        yield running


async def test_an_event_is_delivered_as_standard_webhooks_say(
    tmp_path: Path, theirs: Partner, database_url: str
) -> None:
    """On each database, the official SDK accepts a delivery with the secret shown at registration."""
    async with outbound(tmp_path, database_url=database_url) as ours:
        created = await (await ours.customer()).register(f"{theirs.url}/hook")
        event = await ours.happens("order.paid", order_id="77")
        (request,) = await eventually(lambda: theirs.requests)
        told = standardwebhooks.Webhook(created.secret).verify(request.body, request.headers)
        assert told == {
            "type": "order.paid",
            "timestamp": event.time.isoformat().replace("+00:00", "Z"),
            "data": {"order_id": "77", "user_id": "123"},
        }
        assert request.headers["content-type"] == "application/json"
        assert request.headers["traceparent"]


async def test_the_secret_is_shown_once(ours: Outbound) -> None:
    """A secret has the prescribed form and stands in no later answer; each endpoint has its own."""
    api = await ours.customer()
    first, second = [await api.register("http://127.0.0.1:9/") for _ in range(2)]
    assert first.secret.startswith("whsec_")
    assert first.secret != second.secret
    listed = await api.client.call(api.endpoints.ListEndpoints, pb.ListEndpointsRequest())
    assert [endpoint.id for endpoint in listed.endpoints] == [second.endpoint.id, first.endpoint.id]
    assert first.secret not in str(listed) + str(await api.endpoint(first.endpoint.id))


async def test_a_refused_delivery_is_retried_under_its_id(ours: Outbound, theirs: Partner) -> None:
    """Every attempt has the same id and body, and is listed with status, duration and the answer's beginning."""
    theirs.statuses["/hook"] = [500, 302]
    api = await ours.customer()
    created = await api.register(f"{theirs.url}/hook")
    await ours.happens()
    delivery = await eventually(lambda: api.the_delivery(created.endpoint.id, "delivered"))
    assert {request.id for request in theirs.requests} == {delivery.id}
    assert len({request.body for request in theirs.requests}) == 1
    assert [(attempt.number, attempt.status_code) for attempt in delivery.attempts] == [(1, 500), (2, 302), (3, 200)]
    assert all(attempt.response.startswith("noted ") for attempt in delivery.attempts)
    assert all(len(attempt.response) == 1_024 for attempt in delivery.attempts)
    assert not delivery.HasField("next_attempt_at")


async def test_after_the_last_retry_it_has_failed_and_can_be_sent_again(ours: Outbound, theirs: Partner) -> None:
    """A delivery that was given up is sent again on demand, under the same id, with all attempts still listed."""
    theirs.statuses["/hook"] = [500, 500, 500]
    api = await ours.customer()
    endpoint_id = (await api.register(f"{theirs.url}/hook")).endpoint.id
    await ours.happens()
    failed = await eventually(lambda: api.the_delivery(endpoint_id, "failed"))
    assert len(failed.attempts) == 1 + len(ours.settings.webhooks_delivery_delays)
    again = pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id=failed.id)
    answered = await api.client.call(api.endpoints.Redeliver, again)
    assert answered.delivery.status == "pending"
    delivered = await eventually(lambda: api.the_delivery(endpoint_id, "delivered"))
    assert [attempt.status_code for attempt in delivered.attempts] == [500, 500, 500, 200]
    assert {request.id for request in theirs.requests} == {failed.id}


async def test_what_was_delivered_can_be_sent_again(ours: Outbound, theirs: Partner) -> None:
    """A redelivery of a success is one more request with the same id; of an unknown delivery, NOT_FOUND."""
    api = await ours.customer()
    endpoint_id = (await api.register(f"{theirs.url}/hook")).endpoint.id
    await ours.happens()
    delivery = await eventually(lambda: api.the_delivery(endpoint_id, "delivered"))
    await api.client.call(
        api.endpoints.Redeliver, pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id=delivery.id)
    )
    await eventually(lambda: len(theirs.requests) == 2)
    assert {request.id for request in theirs.requests} == {delivery.id}
    with pytest.raises(ShopError, match="NOT_FOUND"):
        await api.client.call(api.endpoints.Redeliver, pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id="x"))


async def test_410_disables_an_endpoint_and_enabling_it_resumes(ours: Outbound, theirs: Partner) -> None:
    """An endpoint that answers 410 is not called again until its owner enables it; what waited is sent then."""
    theirs.statuses["/hook"] = [410]
    api = await ours.customer()
    endpoint_id = (await api.register(f"{theirs.url}/hook")).endpoint.id
    await ours.happens()

    async def disabled() -> pb.Endpoint | None:
        endpoint = await api.endpoint(endpoint_id)
        return None if endpoint.enabled else endpoint

    assert "410" in (await eventually(disabled)).disabled_reason
    (waiting,) = await api.deliveries(endpoint_id)
    assert waiting.status == "pending"
    with pytest.raises(ShopError, match="ENDPOINT_DISABLED"):
        await api.client.call(
            api.endpoints.Redeliver, pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id=waiting.id)
        )
    await api.client.call(api.endpoints.UpdateEndpoint, pb.UpdateEndpointRequest(id=endpoint_id, enabled=True))
    await eventually(lambda: api.the_delivery(endpoint_id, "delivered"))
    assert (await api.endpoint(endpoint_id)).disabled_reason == ""


async def test_long_failure_disables_an_endpoint(tmp_path: Path, theirs: Partner) -> None:
    """An endpoint that has done nothing but fail for long enough is disabled, and the reason says since when."""
    theirs.statuses["/hook"] = [500] * 1_000
    async with outbound(tmp_path, webhooks_delivery_delays=MANY_DELAYS, webhooks_disable_after=0.3) as ours:
        api = await ours.customer()
        endpoint_id = (await api.register(f"{theirs.url}/hook")).endpoint.id
        await ours.happens()

        async def disabled() -> str:
            return (await api.endpoint(endpoint_id)).disabled_reason

        assert "nothing but failures since" in await eventually(disabled)


async def test_a_slow_endpoint_delays_no_other(tmp_path: Path, theirs: Partner) -> None:
    """While one endpoint does not answer, another one's deliveries arrive, and few requests wait at the slow one."""
    async with outbound(tmp_path, webhooks_delivery_timeout=120) as ours:
        api = await ours.customer()
        await api.register(f"{theirs.url}/slow")
        await api.register(f"{theirs.url}/quick")
        for number in range(20):
            await ours.happens(order_id=str(number))
        await eventually(lambda: len(theirs.of("/quick")) == 20)
        assert len(theirs.of("/slow")) <= 4
        theirs.open.set()
        await eventually(lambda: len(theirs.of("/slow")) == 20)


async def test_an_endpoint_that_does_not_answer_in_time_has_failed(tmp_path: Path, theirs: Partner) -> None:
    """An attempt is bounded in time, and says that it was time that ran out."""
    async with outbound(tmp_path, webhooks_delivery_timeout=0.2, webhooks_delivery_delays=()) as ours:
        api = await ours.customer()
        endpoint_id = (await api.register(f"{theirs.url}/slow")).endpoint.id
        await ours.happens()
        (attempt,) = (await eventually(lambda: api.the_delivery(endpoint_id, "failed"))).attempts
        assert (attempt.status_code, attempt.error) == (0, "no answer in time")


async def test_an_endless_answer_is_cut_off(ours: Outbound, theirs: Partner) -> None:
    """Of an answer only its beginning is read."""
    api = await ours.customer()
    endpoint_id = (await api.register(f"{theirs.url}/endless")).endpoint.id
    await ours.happens()
    (attempt,) = (await eventually(lambda: api.the_delivery(endpoint_id, "delivered"))).attempts
    assert attempt.response == "x" * 1_024


async def test_an_attempt_counts_whatever_is_wrong_with_its_answer(
    tmp_path: Path, theirs: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an answer breaks here is a failed attempt; unrecorded, it would be made again and again without end."""

    def broken(_header: str, _now: datetime) -> float | None:
        raise OverflowError("a year of twenty digits")

    monkeypatch.setattr("webhooks.outgoing.sender.retry_after", broken)
    async with outbound(tmp_path, webhooks_delivery_delays=(0.01,)) as ours:
        api = await ours.customer()
        endpoint_id = (await api.register(f"{theirs.url}/hooks")).endpoint.id
        await ours.happens()
        attempts = (await eventually(lambda: api.the_delivery(endpoint_id, "failed"))).attempts
        assert [attempt.error for attempt in attempts] == ["OverflowError"] * 2


async def test_a_redirect_is_not_followed(tmp_path: Path, theirs: Partner) -> None:
    """A redirect is a failed attempt, and its target is not called."""
    async with outbound(tmp_path, webhooks_delivery_delays=()) as ours:
        api = await ours.customer()
        endpoint_id = (await api.register(f"{theirs.url}/redirect")).endpoint.id
        await ours.happens()
        (attempt,) = (await eventually(lambda: api.the_delivery(endpoint_id, "failed"))).attempts
        assert attempt.status_code == 307
        assert theirs.of("/target") == []


async def test_an_owner_is_told_of_what_concerns_them(ours: Outbound, theirs: Partner) -> None:
    """A customer's endpoint gets events of their own orders, an admin's of all, each of the types that it wants."""
    await (await ours.customer()).register(f"{theirs.url}/customer", "order.paid", "order.shipped")
    await (await ours.admin()).register(f"{theirs.url}/admin")
    await ours.happens("order.paid", order_id="mine")
    await ours.happens("order.placed", order_id="mine")
    await ours.happens("order.paid", user_id=OTHER, order_id="others")
    await eventually(lambda: len(theirs.of("/admin")) == 3)
    await ours.happens("order.shipped", order_id="mine")
    await eventually(lambda: len(theirs.of("/customer")) == 2)
    told = [json.loads(request.body) for request in theirs.of("/customer")]
    assert sorted((one["type"], one["data"]["order_id"]) for one in told) == [
        ("order.paid", "mine"),
        ("order.shipped", "mine"),
    ]


async def test_an_event_that_comes_twice_is_delivered_once(ours: Outbound, theirs: Partner) -> None:
    """The queue may deliver an event again; the endpoint is not called again."""
    api = await ours.customer()
    endpoint_id = (await api.register(f"{theirs.url}/hook")).endpoint.id
    event = await ours.happens()
    await ours.broker.publish([event])
    await ours.happens(order_id="last")
    await eventually(lambda: any(json.loads(one.body)["data"]["order_id"] == "last" for one in theirs.requests))
    assert len(await api.deliveries(endpoint_id)) == 2


async def test_another_customers_endpoint_is_not_found(ours: Outbound) -> None:
    """Whether an endpoint exists is its owner's business; an admin sees and may delete it."""
    endpoint_id = (await (await ours.customer()).register("http://127.0.0.1:9/")).endpoint.id
    other, admin = await ours.as_user("customer2@shop.test"), await ours.admin()
    for method, request in (
        (other.endpoints.GetEndpoint, pb.GetEndpointRequest(id=endpoint_id)),
        (other.endpoints.UpdateEndpoint, pb.UpdateEndpointRequest(id=endpoint_id, enabled=False)),
        (other.endpoints.DeleteEndpoint, pb.DeleteEndpointRequest(id=endpoint_id)),
        (other.endpoints.ListDeliveries, pb.ListDeliveriesRequest(endpoint_id=endpoint_id)),
        (other.endpoints.Redeliver, pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id="x")),
    ):
        with pytest.raises(ShopError, match="NOT_FOUND"):
            await other.client.call(method, request)
    assert (await other.client.call(other.endpoints.ListEndpoints, pb.ListEndpointsRequest())).endpoints == []
    assert (await admin.endpoint(endpoint_id)).owner_id == "123"
    await admin.client.call(admin.endpoints.DeleteEndpoint, pb.DeleteEndpointRequest(id=endpoint_id))


async def test_a_deleted_endpoint_is_not_called_again(ours: Outbound, theirs: Partner) -> None:
    """Deleting an endpoint forgets its deliveries, those under way too, and harms nothing else."""
    theirs.statuses = {"/slow": [500] * 10, "/failing": [500] * 10}
    api = await ours.customer()
    endpoint_id = (await api.register(f"{theirs.url}/slow")).endpoint.id
    await ours.happens()
    await eventually(lambda: theirs.requests)
    await api.client.call(api.endpoints.DeleteEndpoint, pb.DeleteEndpointRequest(id=endpoint_id))
    theirs.open.set()
    failing = (await api.register(f"{theirs.url}/failing")).endpoint.id
    await ours.happens()
    # All retries of another delivery, which is as long as those of the deleted endpoint would have taken.
    await eventually(lambda: api.the_delivery(failing, "failed"))
    assert len(theirs.of("/slow")) == 1


@pytest.mark.parametrize(
    "change", [{"url": "ftp://example.com/"}, {"event_types": ["stock.changed"]}, {"description": "x" * 201}]
)
async def test_a_bad_field_is_named(ours: Outbound, change: dict[str, Any]) -> None:
    """What cannot be registered is refused with the field that is wrong, and so is a change to it."""
    api = await ours.customer()
    endpoint_id = (await api.register("http://127.0.0.1:9/")).endpoint.id
    for method, request in (
        (api.endpoints.CreateEndpoint, pb.CreateEndpointRequest(**{"url": "http://127.0.0.1:9/", **change})),
        (api.endpoints.UpdateEndpoint, pb.UpdateEndpointRequest(id=endpoint_id, **change)),
    ):
        with pytest.raises(ShopError) as refused:
            await api.client.call(method, request)
        assert refused.value.code == "INVALID_INPUT"
        assert {name.partition("[")[0] for name in refused.value.fields} == set(change)


async def test_endpoints_of_an_owner_are_bounded(ours: Outbound) -> None:
    """The twenty-first endpoint of an owner is refused."""
    api = await ours.customer()
    for _ in range(20):
        await api.register("http://127.0.0.1:9/")
    with pytest.raises(ShopError, match="TOO_MANY_ENDPOINTS"):
        await api.register("http://127.0.0.1:9/")


async def test_private_addresses_are_refused_by_default(tmp_path: Path, theirs: Partner) -> None:
    """Unless a setting allows it, an endpoint on this machine cannot be registered, nor one without TLS."""
    async with outbound(tmp_path, webhooks_allow_private=False) as ours:
        api = await ours.customer()
        for url in (f"{theirs.url}/hook", "https://127.0.0.1/", "https://localhost/", "http://93.184.216.34/"):
            with pytest.raises(ShopError) as refused:
                await api.register(url)
            assert set(refused.value.fields) == {"url"}


async def test_a_kill_amid_a_delivery_repeats_it_under_its_id(tmp_path: Path, theirs: Partner) -> None:
    """Killed before it could note the answer, the worker sends the delivery again, with the id that it had."""
    async with outbound(tmp_path) as ours:
        created = await (await ours.customer()).register(f"{theirs.url}/slow")
    environment = {
        "SHOP_WEBHOOKS_GRPC_PORT": "0",
        "SHOP_WEBHOOKS_ALLOW_PRIVATE": "true",
        "SHOP_WEBHOOKS_DELIVERY_TIMEOUT": "30",
    }
    async with real_process("webhooks", tmp_path, environment, "worker") as process:
        await ours_publishes(ours)
        await eventually(lambda: theirs.requests, within=60)
        process.kill()
        await process.wait()
    theirs.open.set()
    async with real_process("webhooks", tmp_path, environment, "worker"):
        await eventually(lambda: len(theirs.requests) == 2, within=60)
    first, second = theirs.requests
    assert first.id == second.id
    assert first.body == second.body
    standardwebhooks.Webhook(created.secret).verify(second.body, second.headers)


async def ours_publishes(ours: Outbound) -> None:
    """An event, published while no worker of this loop runs."""
    from chassis.broker import connect
    from chassis.broker.port import Topology
    from chassis.settings import TOPOLOGY
    from tests.webhooks.outbound import CUSTOMER, order_event

    broker = await connect(ours.settings.broker(), Topology.load(TOPOLOGY))
    await asyncio.shield(broker.publish([order_event("order.paid", CUSTOMER)]))
    await broker.close()


async def test_a_clock_that_was_set_back_delays_no_delivery(
    tmp_path: Path, theirs: Partner, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be sent by a clock an hour ahead waits for its delay and not for the hour; so does a pause."""
    monkeypatch.setattr("webhooks.outgoing.dispatcher._CLOCK_SECONDS", 0.05)
    theirs.statuses["/failing"] = [500]
    theirs.statuses["/busy"] = [503]
    theirs.retry_after["/busy"] = "100"
    chosen: dict[str, Any] = {"webhooks_delivery_delays": (60,), "webhooks_longest_pause": 120}
    async with (
        outbound(tmp_path, database_url=database_url, **chosen) as ours,
        database(ours.settings.database("webhooks"), MIGRATIONS) as db,
    ):
        api = await ours.customer()
        for path in ("/failing", "/busy"):
            await api.register(f"{theirs.url}{path}")
        await ours.happens()

        async def waits(soonest: float, latest: float) -> bool:
            def read(rows: Connection) -> list[datetime]:
                failing = select(deliveries.c.next_attempt_at).join_from(
                    deliveries, endpoints, endpoints.c.id == deliveries.c.endpoint_id
                )
                pause = select(endpoints.c.paused_until).where(endpoints.c.paused_until.is_not(None))
                unpaused = endpoints.c.paused_until.is_(None) & (deliveries.c.attempts == 1)
                return [*rows.scalars(failing.where(unpaused)), *rows.scalars(pause)]

            moments = await db.read(read)
            left = [(moment - datetime.now(UTC)).total_seconds() for moment in moments]
            return len(left) == 2 and all(soonest < seconds < latest for seconds in left)

        def set_back(rows: Connection) -> None:
            """Leave the rows as a clock does that was an hour ahead when they were written."""
            for column in (deliveries.c.next_attempt_at, endpoints.c.paused_until):
                for moment in list(rows.scalars(select(column).where(column.is_not(None)).distinct())):
                    later = {column.name: moment + timedelta(hours=1)}
                    rows.execute(update(column.table).where(column == moment).values(later))

        await eventually(lambda: waits(30, 101))
        await db.write(set_back)
        await eventually(lambda: waits(30, 121))
