"""An event about an order becomes one mail to its customer."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from sqlalchemy import select

from chassis.broker.inbox import INBOX_KEEP
from chassis.database.database import database
from protos.shop.users.v1.users_pb2 import RegisterUserRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.mailer.bootstrap import MIGRATIONS
from services.mailer.domain import Customer, News, render
from services.mailer.sql_store import inbox
from tests.contract.databases import url_of
from tests.mailer.conftest import Post, order_event
from tests.shop import free_ports
from tests.waiting import eventually

if TYPE_CHECKING:
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        ("confirmed", {"total": "89.00", "currency": "EUR"}, "89.00 EUR"),
        ("delayed", {"reason": "delayed: the ERP does not answer"}, "you may cancel it"),
        ("rejected", {"reason": "OUT_OF_STOCK"}, "OUT_OF_STOCK"),
        ("shipped", {"shipment_number": "S-0007"}, "S-0007"),
    ],
)
async def test_each_kind_of_event_becomes_a_mail(post: Post, kind: str, facts: dict[str, str], said: str) -> None:
    """Each event for the customer becomes a mail that names the order and says what happened."""
    event = order_event(kind, **facts)
    async with post.users(), post.mailer():
        await post.broker.publish([event])
        (mail,) = await eventually(lambda: post.mails(event.subject))
    assert mail["kind"] == kind
    assert mail["message_id"] == f"{event.id}@shop.test"
    assert "demo@shop.test" in mail["to"]
    assert event.subject in mail["subject"]
    raw = (await post.http.get(f"/mails/{mail['message_id']}")).content
    message = message_from_bytes(raw, policy=policy.default)
    assert message["X-Shop-Order-Id"] == event.subject
    text = message.get_content()
    assert "Demo Customer" in text
    assert said in text


@pytest.mark.parametrize("address", ["ren\u00e9@m\u00fcller.test", "\u7528\u6237@shop.test", "o'hara+shop@shop.test"])
async def test_each_address_that_can_register_gets_mail(post: Post, address: str) -> None:
    """RFC 6531: whatever address users accepts, the mailer can write to, also one in another script."""
    async with post.users(), post.mailer(), grpc.aio.insecure_channel(f"127.0.0.1:{post.users_port}") as channel:
        stub: UserServiceAsyncStub = UserServiceStub(channel)
        request = RegisterUserRequest(name="Ren\u00e9 X.", email=address, password="long enough")
        user = (await stub.RegisterUser(request)).user
        event = order_event("shipped", user_id=user.id)
        await post.broker.publish([event])
        (mail,) = await eventually(lambda: post.mails(event.subject))
    raw = (await post.http.get(f"/mails/{mail['message_id']}")).content
    assert f"<{user.email}>".encode() in raw
    assert user.email in mail["to"]


async def test_duplicate_event_brings_one_mail(post: Post) -> None:
    """An event that is delivered twice brings one mail."""
    event = order_event("shipped")
    async with post.users(), post.mailer():
        await post.broker.publish([event])
        await eventually(lambda: post.mails(event.subject))
        await post.broker.publish([event])
        await eventually(post.settled)
        assert len(await post.mails(event.subject)) == 1


async def test_mailer_that_forgot_sends_the_same_message_id(post: Post) -> None:
    """A mail sent again by a mailer that died before it could note it is recognized by its Message-ID."""
    event = order_event("shipped")
    async with post.users(), post.mailer():
        await post.broker.publish([event])
        await eventually(lambda: post.mails(event.subject))
    forgetful = dataclasses.replace(post, database_url=f"sqlite:///{post.data_dir / 'new.sqlite'}")
    async with post.users(), forgetful.mailer():
        await post.broker.publish([event])
        await eventually(post.settled)
        assert len(await post.mails(event.subject)) == 1


async def test_mail_waits_for_users(post: Post) -> None:
    """While users is down the mail waits, and is sent once users is back."""
    event = order_event("confirmed", total="1.00", currency="EUR")

    async def delayed() -> bool:
        return any(depth.delayed for depth in await post.broker.depths() if depth.queue == "order-mail")

    async with post.mailer(retry_delays=(0.5,) * 20):
        await post.broker.publish([event])
        await eventually(delayed)
        assert await post.mails(event.subject) == []
        async with post.users():
            await eventually(lambda: post.mails(event.subject))


async def test_mail_waits_for_the_smtp_server(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """However long no SMTP server answers, the mail is tried again, and goes out once there is one."""
    event = order_event("shipped")
    async with post.users():
        async with post.mailer(smtp_address=f"127.0.0.1:{free_ports(1)[0]}", retry_delays=(0.05, 0.05)):
            await post.broker.publish([event])
            await eventually(lambda: sum("retried in" in each.message for each in caplog.records) > 4)
            assert await post.broker.dead_letters("order-mail") == []
        async with post.mailer(retry_delays=(0.05, 0.05)):
            await eventually(lambda: post.mails(event.subject))


async def test_unknown_customer_is_left_to_a_person(post: Post) -> None:
    """An event about an unknown customer is dead-lettered at once."""
    event = order_event("shipped", user_id="nobody")
    async with post.users(), post.mailer():
        await post.broker.publish([event])
        (letter,) = await eventually(lambda: post.broker.dead_letters("order-mail"))
    assert letter.attempts == 1
    assert "NOT_FOUND" in letter.reason


async def test_unreadable_event_is_left_to_a_person(post: Post) -> None:
    """An event that cannot be parsed is dead-lettered at once."""
    event = dataclasses.replace(order_event("shipped"), data=b'{"order_id": 7}')
    async with post.users(), post.mailer():
        await post.broker.publish([event])
        (letter,) = await eventually(lambda: post.broker.dead_letters("order-mail"))
    assert letter.attempts == 1


def test_same_event_renders_the_same_mail() -> None:
    """A mail depends on nothing but the event and the customer, and a name cannot add a header to it."""
    news = News("e1", "shipped", "o1", "u1", datetime(2026, 1, 5, tzinfo=UTC), {"shipment_number": "S1"})
    customer = Customer("Eve\r\nBcc: all@shop.test", "eve@shop.test")
    assert render(news, customer) == render(news, customer)
    assert render(news, customer).recipient.name == "Eve Bcc: all@shop.test"
    assert render(news, customer).message_id == "<e1@shop.test>"


@pytest.mark.parametrize(
    ("total", "free"), [("0.00", True), ("0", True), ("0.000", True), ("0.01", False), ("10", False)]
)
def test_a_free_order_is_not_to_be_paid(total: str, free: bool) -> None:
    """The mail of an order that costs nothing requests no payment; every other one names the amount."""
    facts = {"total": total, "currency": "EUR"}
    mail = render(
        News("e1", "confirmed", "o1", "u1", datetime(2026, 1, 5, tzinfo=UTC), facts), Customer("Eve", "e@x.test")
    )
    assert ("nothing to pay" in mail.text, f"once {total} EUR are paid" in mail.text) == (free, not free)


async def test_running_mailer_forgets_events_told_long_ago(post: Post) -> None:
    """A mailer that starts deletes what its inbox has kept for long enough, and keeps the rest."""
    now = datetime.now(UTC)
    ages = {"old": INBOX_KEEP + timedelta(hours=1), "fresh": timedelta(0)}
    rows = [{"consumer": "order-mail", "event_id": name, "handled_at": now - age} for name, age in ages.items()]
    async with database(url_of("mailer", post.database_url, post.data_dir), MIGRATIONS, create=True) as db:
        async with db.transaction() as connection:
            await connection.execute(inbox.insert(), rows)

        async def kept() -> bool:
            async with db.reading() as connection:
                return set(await connection.scalars(select(inbox.c.event_id))) == {"fresh"}

        async with post.users(), post.mailer():
            await eventually(kept)
