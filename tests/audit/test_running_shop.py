"""`shop audit` against a running shop: what moves an order, what waits for a person, what cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import pytest

from chassis.broker import connect
from chassis.broker.port import Event, Topology
from chassis.settings import TOPOLOGY, environment
from shop.audit import Settings
from shop.audit.command import look
from shop.audit.findings import State
from shop.audit.report import as_dict, as_text
from tests.audit.alterations import altered, other, removed, rewritten, values
from tests.audit.quiet import Quiet, a_mail, events, mails_of, orders, reservations, sales, settles, shipments
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def long_ago(row: dict[str, Any]) -> dict[str, Any]:
    """An event of an hour ago, in the database's own form."""
    then = datetime.now(UTC) - timedelta(hours=1)
    return {**row, "time": then if isinstance(row["time"], datetime) else f"{then:%Y-%m-%d %H:%M:%S.%f}"}


async def test_order_that_nothing_moves_is_lost(quiet: Quiet) -> None:
    """A paid order without a message for its shipment is lost, with its last step; RabbitMQ leaves it open."""
    stuck = f"{quiet.shipped}: it is paid since order.paid of"
    async with (
        altered(quiet.shop, events(quiet, "order.shipped"), removed),
        altered(quiet.shop, events(quiet, "order.paid"), long_ago),
        altered(quiet.shop, orders(quiet), values(status="paid")),
        altered(quiet.shop, sales(quiet), values(status="10")),
        altered(quiet.shop, shipments(quiet), removed),
        altered(quiet.shop, reservations(quiet), values(state="held")),
        rewritten(a_mail(quiet, "shipped"), None),
    ):
        report = await quiet.look()
        text = as_text(report)
        assert stuck in text
        if quiet.embedded:
            assert "lost: " + stuck in text
            assert report.exit_code == 1
        else:
            assert "cannot be judged: " + stuck in text
            assert report.found[State.OPEN] == 1
    await settles(quiet)


async def test_event_that_was_not_published_is_in_flight(quiet: Quiet) -> None:
    """An event in the outbox is the order's next step. (The relay publishes it; the inboxes have it already.)"""
    place = events(quiet, "order.shipped")
    seen = []

    async def published() -> bool:
        seen.append(await quiet.look())
        return seen[-1].at_rest

    async with altered(quiet.shop, place, values(published_at=None)):
        await eventually(published, within=60)
    assert [as_text(report) for report in seen if report.exit_code] == []
    await settles(quiet)


async def test_dead_letter_waits_for_a_person_until_it_is_dropped(quiet: Quiet) -> None:
    """A dead letter about a settled order is named with the command that moves it, and makes the audit fail."""
    with environment(quiet.shop.around.shared):
        broker = await connect(quiet.settings.broker(), Topology.load(TOPOLOGY))
    event = Event(other(None), "order.confirmed", "/orders", quiet.shipped, datetime.now(UTC), b"no JSON")
    try:
        await broker.publish([event])
        letters = await eventually(lambda: broker.dead_letters("order-mail"), within=60)
        assert [letter.id for letter in letters] == [event.id]
        report = await quiet.look()
        assert report.exit_code == 1
        named = f"waiting for a person: {quiet.shipped}: dead letter {event.id} (order.confirmed) in order-mail"
        assert named in as_text(report)
        assert f"shop dead-letters replay {event.id} --queue order-mail" in as_text(report)
        # Every other queue that is bound to the event has it, too.
        for queue in ("order-mail", "webhook-delivery"):
            await broker.drop_dead_letters(queue, {event.id})
    finally:
        await broker.close()
    await settles(quiet)


async def test_mail_of_an_order_that_was_never_placed_is_named(quiet: Quiet) -> None:
    """A mail about an order that the orders service has never had makes the audit fail."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "shop@shop.test", "eve@shop.test", "<strange@shop.test>"
    mail["X-Shop-Order-Id"], mail["X-Shop-Mail-Kind"] = "never", "shipped"
    host, _, port = quiet.shop.address("SHOP_SMTP_ADDRESS").rpartition(":")
    await aiosmtplib.send(mail, hostname=host, port=int(port))
    report = await quiet.look()
    assert "different: never: the orders service has no such order, but the mail server has it" in as_text(report)
    (found,) = [path for path in mails_of(quiet) if b"strange@shop.test" in path.read_bytes()]
    found.unlink()
    await settles(quiet)


@pytest.mark.parametrize(
    ("setting", "book"),
    [
        ("SHOP_MAIL_URL", "mails"),
        ("SHOP_PAYMENT_URL", "payments"),
        ("SHOP_ERP_ADAPTER_ADDRESS", "erp"),
        ("SHOP_INVENTORY_ADDRESS", "inventory"),
        ("SHOP_WEBHOOKS_ADDRESS", "webhooks"),
    ],
)
async def test_book_that_cannot_be_read_is_said(quiet: Quiet, setting: str, book: str) -> None:
    """Without one of the books the rest is judged, the missing one is named, and the audit does not call the books
    equal."""
    nowhere = "http://127.0.0.1:9" if setting.endswith("_URL") else "127.0.0.1:9"
    with environment({**quiet.shop.around.shared, setting: nowhere}):
        report = await look(Settings())
    assert set(report.unread) == {book}
    assert report.exit_code == 2, as_text(report)
    assert f"could not be read: {book}" in as_text(report)
    assert as_dict(report)["differences"] == []


async def test_paging_reads_as_many_orders_as_there_are(quiet: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a page, every record of every book is read once."""
    monkeypatch.setattr("shop.audit.reading._PAGE", 1)
    report = await quiet.look()
    assert report.at_rest, as_text(report)
    assert report.orders.total() == 3
