"""An event about an order becomes one mail to its customer."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from services.mailer.domain import Customer, News, render
from tests.mailer.conftest import Post, order_event, unused_port
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        ("confirmed", {"total": "89.00", "currency": "EUR"}, "89.00 EUR"),
        ("rejected", {"reason": "OUT_OF_STOCK"}, "OUT_OF_STOCK"),
        ("shipped", {"shipment_number": "S-0007"}, "S-0007"),
    ],
)
async def test_each_kind_of_event_becomes_a_mail(post: Post, kind: str, facts: dict[str, str], said: str) -> None:
    """Each event that a customer is told about becomes a mail that names the order and says what happened."""
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


async def test_mail_waits_for_the_smtp_server(post: Post) -> None:
    """While no SMTP server answers the mail is retried, and dead-lettered with the reason when none ever does."""
    event = order_event("shipped")
    async with post.users(), post.mailer(smtp_address=f"127.0.0.1:{unused_port()}", retry_delays=(0.05, 0.05)):
        await post.broker.publish([event])
        (letter,) = await eventually(lambda: post.broker.dead_letters("order-mail"))
    assert letter.attempts == 3
    assert "UPSTREAM_UNAVAILABLE" in letter.reason


async def test_unknown_customer_is_left_to_a_person(post: Post) -> None:
    """An event about a customer whom users does not know is dead-lettered at once."""
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
