"""Dead letters of a running shop that were doubled, altered or removed: the audit names each."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from sqlalchemy import text as sql

from chassis.broker import cloudevents
from chassis.broker.port import Event
from chassis.broker.rabbitmq.queues import DEAD_ID, DIED_AT, REASON
from shop.audit.findings import State
from shop.audit.report import as_text
from tests.audit.alterations import changing, rewritten
from tests.audit.quiet import Quiet, a_mail, settles

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUE = "order-mail"


async def told_by_mail(quiet: Quiet) -> Event:
    """The event of the shipment, as it was published."""
    of_shipment = f"SELECT * FROM outbox WHERE subject = '{quiet.shipped}' AND type = 'order.shipped'"  # noqa: S608
    async with changing(quiet.shop, "orders") as connection:
        row: Any = (await connection.execute(sql(of_shipment))).mappings().one()
    return Event(row["event_id"], row["type"], row["source"], row["subject"], datetime.now(UTC), bytes(row["data"]))


@asynccontextmanager
async def dead_letters(quiet: Quiet, *events: Event) -> AsyncIterator[None]:
    """These events as dead letters of the mailer, until the block ends."""
    adding = _dead_letters_embedded if quiet.embedded else _dead_letters_in_rabbitmq
    async with adding(quiet, events):
        yield


@asynccontextmanager
async def _dead_letters_embedded(quiet: Quiet, events: tuple[Event, ...]) -> AsyncIterator[None]:
    first = 1_000_000
    columns = "queue, position, event_id, reason, attempts, died_at, attributes, data"
    values = ":queue, :position, :id, 'MAIL_REFUSED: no', 1, 0, :attributes, :data"
    async with changing(quiet.shop, "broker") as connection:
        for position, event in enumerate(events, start=first):
            row = {"queue": QUEUE, "position": position, "id": event.id, "data": event.data}
            row["attributes"] = json.dumps(cloudevents.attributes(event))
            await connection.execute(sql(f"INSERT INTO dead ({columns}) VALUES ({values})"), row)  # noqa: S608
    try:
        yield
    finally:
        async with changing(quiet.shop, "broker") as connection:
            await connection.execute(sql(f"DELETE FROM dead WHERE position >= {first}"))  # noqa: S608 - a number


@asynccontextmanager
async def _dead_letters_in_rabbitmq(quiet: Quiet, events: tuple[Event, ...]) -> AsyncIterator[None]:
    url, _, prefix = quiet.shop.around.shared["SHOP_BROKER_URL"].partition("?prefix=")
    queue = f"{prefix}{QUEUE}.dead"
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for event in events:
            headers: Any = {**cloudevents.headers(event), DEAD_ID: event.id, REASON: "MAIL_REFUSED: no", DIED_AT: 0}
            await channel.default_exchange.publish(aio_pika.Message(event.data, headers=headers), queue)
        try:
            yield
        finally:
            await (await channel.get_queue(queue)).purge()


async def said(quiet: Quiet) -> str:
    report = await quiet.look()
    assert report.exit_code == 1, as_text(report)
    return as_text(report)


async def test_dead_letter_as_it_died_differs_in_nothing(quiet: Quiet) -> None:
    """A dead letter of one of the order's events waits for a person, and that is all."""
    event = await told_by_mail(quiet)
    async with dead_letters(quiet, event):
        report = await quiet.look()
        assert f"waiting for a person: {quiet.shipped}: dead letter {event.id} (order.shipped)" in as_text(report)
        assert report.differences == []
    await settles(quiet)


async def test_doubled_dead_letter_is_named(quiet: Quiet) -> None:
    """One that is there twice would be replayed twice."""
    event = await told_by_mail(quiet)
    async with dead_letters(quiet, event, event):
        assert f"dead letter {event.id} is in order-mail 2 times" in await said(quiet)
    await settles(quiet)


async def test_altered_dead_letter_is_named(quiet: Quiet) -> None:
    """One that is of another event, type, order or payload than when it died would do something else when replayed."""
    event = await told_by_mail(quiet)
    facts = json.loads(event.data)
    different = json.dumps({**facts, "shipment_number": "0000000077"}).encode()
    stranger = uuid.uuid4().hex
    altered = {
        f"dead letter {stranger} (order.shipped) in order-mail belongs to none": replace(event, id=stranger),
        f"dead letter {event.id} (order.rejected) in order-mail is of": replace(event, type="order.rejected"),
        'has {"order_id": "': replace(event, data=different),
        "has no JSON object, its event": replace(event, data=b"no JSON"),
        f"different: {quiet.rejected}: dead letter {event.id}": replace(event, subject=quiet.rejected),
        f"waiting for a person: nobody: dead letter {event.id}": replace(event, subject="nobody"),
    }
    for words, letter in altered.items():
        async with dead_letters(quiet, letter):
            assert words in await said(quiet)
    await settles(quiet)


async def test_removed_dead_letter_is_named(quiet: Quiet) -> None:
    """While a mail's dead letter is there, a person can send it; without it, the mail is lost."""
    event = await told_by_mail(quiet)
    async with rewritten(a_mail(quiet, "shipped"), None):
        async with dead_letters(quiet, event):
            report = await quiet.look()
            assert f"dead letter {event.id}" in as_text(report)
            assert report.differences == []
            assert report.found[State.WAITING] == 2  # by itself, and as what the mail waits for
        report = await quiet.look()
        assert "no mail shipped" in as_text(report)
        # On RabbitMQ a consumer may hold its message, for a while.
        assert report.found[State.LOST if quiet.embedded else State.IN_FLIGHT] == 1
    await settles(quiet)
