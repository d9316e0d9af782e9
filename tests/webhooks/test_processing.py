"""What becomes of a stored webhook: passed to the shop once, ignored, retried, or left to a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from chassis.broker import connect
from chassis.broker.event_log import START
from chassis.broker.port import Event, Topology
from chassis.errors import Kind, ShopError, not_found, unavailable
from chassis.settings import TOPOLOGY
from partners import senders
from partners.senders import SignedWebhook
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, Receiver, Start


def stripe(event_type: str, obj: dict[str, Any]) -> SignedWebhook:
    return senders.stripe(event_type, obj, secret=SECRETS["stripe"], event_id="evt_1")


def shopify(topic: str, payload: dict[str, Any]) -> SignedWebhook:
    return senders.shopify(topic, payload, secret=SECRETS["shopify"], webhook_id="w-1")


def standard(event_type: str, data: dict[str, Any]) -> SignedWebhook:
    return senders.standard(event_type, data, secret=SECRETS["standard"])


def paid() -> SignedWebhook:
    """Signed when it is sent, not when this file is read: a signature is good for five minutes."""
    return stripe("payment_intent.succeeded", {"id": "pi_1", "metadata": {"order_id": "77"}})


DELIVERY = {"order_id": "77", "carrier": "Parcel Post", "delivered_at": "2026-03-01T10:00:00Z"}


async def settled(receiver: Receiver) -> dict[str, Any]:
    """The one row, once its processing has come to an end of some kind."""

    async def probe() -> dict[str, Any] | None:
        (row,) = await receiver.rows()
        return None if row["status"] == "received" else dict(row)

    return await eventually(probe)


@pytest.mark.parametrize(
    ("webhook", "told"),
    [
        pytest.param(paid, ("paid", "77", "pi_1"), id="stripe payment_intent.succeeded"),
        pytest.param(
            lambda: stripe(
                "payment_intent.payment_failed",
                {"id": "pi_1", "metadata": {"order_id": "77"}, "last_payment_error": {"message": "no money"}},
            ),
            ("payment failed", "77", "pi_1", "no money"),
            id="stripe payment_intent.payment_failed",
        ),
        pytest.param(
            lambda: shopify("orders/create", {"id": 820982911946154508, "line_items": [{"sku": "42", "quantity": 2}]}),
            ("channel order", "shopify", "820982911946154508", [("42", 2)]),
            id="shopify orders/create by SKU",
        ),
        pytest.param(
            lambda: shopify(
                "orders/create", {"id": 1, "line_items": [{"sku": None, "product_id": 123, "quantity": 1}]}
            ),
            ("channel order", "shopify", "1", [("123", 1)]),
            id="shopify orders/create by product",
        ),
        pytest.param(
            lambda: senders.github("push", {"ref": "refs/heads/main"}, secret=SECRETS["github"], delivery_id="d-1"),
            ("refreshed", "123", "github:d-1"),
            id="github push",
        ),
        pytest.param(
            lambda: standard("shipment.delivered", DELIVERY),
            ("delivered", "77", "Parcel Post", "2026-03-01T10:00:00+00:00"),
            id="standard shipment.delivered",
        ),
    ],
)
async def test_the_shop_is_told_what_the_event_means(
    receiver: Receiver, webhook: Callable[[], SignedWebhook], told: tuple[Any, ...]
) -> None:
    """Each provider's event becomes the one call that it stands for, and the row says so."""
    assert (await receiver.send(webhook())).status_code == 200
    row = await settled(receiver)
    assert receiver.shop.told == [told]
    assert (row["status"], row["outcome"], row["attempts"], row["error"]) == ("processed", "applied", 1, "")


async def test_an_unknown_event_is_kept_and_ignored(receiver: Receiver) -> None:
    """What we have no use for is stored, processed as ignored, and passed to no service."""
    await receiver.send(stripe("customer.created", {"id": "cus_1"}))
    row = await settled(receiver)
    assert (row["status"], row["outcome"]) == ("processed", "ignored")
    assert receiver.shop.told == []


@pytest.mark.parametrize(
    "webhook",
    [
        pytest.param(lambda: stripe("payment_intent.succeeded", {"id": "pi_1", "metadata": {}}), id="no order id"),
        pytest.param(lambda: stripe("payment_intent.succeeded", {"id": "pi_1", "metadata": "none"}), id="no metadata"),
        pytest.param(lambda: shopify("orders/create", {"id": 1, "line_items": []}), id="no lines"),
        pytest.param(
            lambda: shopify("orders/create", {"id": 1, "line_items": [{"sku": "42", "quantity": 0}]}), id="no quantity"
        ),
        pytest.param(lambda: standard("shipment.delivered", {**DELIVERY, "delivered_at": "yesterday"}), id="no time"),
    ],
)
async def test_an_unusable_event_is_dead_at_once(receiver: Receiver, webhook: Callable[[], SignedWebhook]) -> None:
    """An authentic event that lacks what it needs is not retried: it waits for a person, and the row says why."""
    assert (await receiver.send(webhook())).status_code == 200
    row = await settled(receiver)
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert "UNUSABLE_WEBHOOK" in row["error"]
    (dead,) = await eventually(receiver.dead_letters)
    assert dead.attempts == 1
    assert receiver.shop.told == []


async def test_an_unknown_order_is_dead_at_once(receiver: Receiver) -> None:
    """An order that does not exist will not exist later."""
    receiver.shop.failure = not_found("order", "77")
    await receiver.send(paid())
    (dead,) = await eventually(receiver.dead_letters)
    assert (dead.attempts, (await settled(receiver))["status"]) == (1, "failed")


@pytest.mark.parametrize(
    "failure",
    [unavailable("orders"), ShopError("WRONG_PAYMENT", "not yet", Kind.PRECONDITION), RuntimeError("a bug")],
)
async def test_a_failure_that_may_pass_is_retried(start: Start, failure: Exception) -> None:
    """While the upstream does not take it, an event is tried again; once it does, the row forgets the error."""
    async with start(retry_delays=[0.2] * 50) as receiver:
        receiver.shop.failure = failure  # type: ignore[assignment]  # any exception will do
        await receiver.send(paid())
        assert (await settled(receiver))["status"] == "failed"
        receiver.shop.failure = None

        async def processed() -> bool:
            (row,) = await receiver.rows()
            return (row["status"], row["error"]) == ("processed", "") and row["attempts"] > 1

        await eventually(processed)
        assert receiver.shop.told == [("paid", "77", "pi_1")]


async def test_a_failure_that_stays_ends_in_the_dead_letters(receiver: Receiver) -> None:
    """After the last retry the event is dead, and replaying it after the fix processes it."""
    receiver.shop.failure = ShopError("WRONG_PAYMENT", "it waits for another payment", Kind.PRECONDITION)
    await receiver.send(paid())
    (dead,) = await eventually(receiver.dead_letters)
    assert dead.attempts == 1 + len(receiver.worker.retry_delays)
    (row,) = await receiver.rows()
    assert (row["status"], row["attempts"]) == ("failed", dead.attempts)
    receiver.shop.failure = None
    broker = await connect(receiver.settings.broker(), Topology.load(TOPOLOGY))
    assert await broker.replay_dead_letter("webhook-processing", dead.id)
    await broker.close()
    await eventually(lambda: receiver.shop.told)


@pytest.mark.parametrize(
    "failure",
    [
        unavailable("orders"),
        ShopError("ORDER_NOT_CONFIRMED", "not yet", Kind.PRECONDITION),
        ShopError("ORDER_NOT_SHIPPED", "not yet", Kind.PRECONDITION),
    ],
)
async def test_an_outage_or_early_news_is_waited_for(receiver: Receiver, failure: ShopError) -> None:
    """A webhook that comes while orders are away, or before its order is ready, outlives every retry delay."""
    receiver.shop.failure = failure
    await receiver.send(paid())

    async def outlived() -> bool:
        (row,) = await receiver.rows()
        return int(row["attempts"]) > 2 + len(receiver.worker.retry_delays)

    await eventually(outlived)
    assert await receiver.dead_letters() == []
    receiver.shop.failure = None
    await eventually(lambda: receiver.shop.told)


async def test_a_second_delivery_of_the_event_changes_nothing(receiver: Receiver) -> None:
    """The queue may deliver twice what was processed already."""
    await receiver.send(paid())
    row = await settled(receiver)
    broker = await connect(receiver.settings.broker(), Topology.load(TOPOLOGY))
    (entry,) = [event async for event in _log(broker)]
    await broker.publish([entry])
    await broker.publish([Event(**{**_fields(entry), "id": "unknown", "data": b'{"webhook_id":"unknown"}'})])
    await broker.close()
    (dead,) = await eventually(receiver.dead_letters)
    assert dead.event.id == "unknown"
    assert receiver.shop.told == [("paid", "77", "pi_1")]
    assert (await receiver.rows())[0]["attempts"] == row["attempts"]


async def test_what_was_stored_before_a_stop_is_processed_after_the_start(start: Start) -> None:
    """A webhook that could not be processed before the process ended is processed by the next one."""
    patiently = [0.2] * 50
    async with start(retry_delays=patiently) as before:
        before.shop.failure = unavailable("orders")
        assert (await before.send(paid())).status_code == 200
    async with start(retry_delays=patiently) as after:
        await eventually(lambda: after.shop.told)
        assert after.shop.told == [("paid", "77", "pi_1")]


async def test_stored_announced_and_processed_once(start: Start, database_url: str) -> None:
    """On each database, twenty concurrent duplicates are one row, one `webhook.received` and one effect."""
    async with start(database_url=database_url) as receiver:
        webhook = paid()
        responses = await asyncio.gather(*(receiver.send(webhook) for _ in range(20)))
        assert {response.status_code for response in responses} == {200}
        row = await settled(receiver)
        assert (row["status"], row["attempts"], bytes(row["body"])) == ("processed", 1, webhook.body)
        assert row["published_at"] is not None
        broker = await connect(receiver.settings.broker(), Topology.load(TOPOLOGY))
        announced = [(event.type, event.id, event.subject) async for event in _log(broker)]
        await broker.close()
        assert announced == [("webhook.received", row["id"], row["id"])]
        assert receiver.shop.told == [("paid", "77", "pi_1")]


async def _log(broker: Any) -> Any:
    """The events in the broker's log so far."""
    async with broker.log.tail(START, upto=await broker.log.last_position()) as entries:
        async for entry in entries:
            yield entry.event


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in ("id", "type", "source", "subject", "time", "data", "extensions")}
