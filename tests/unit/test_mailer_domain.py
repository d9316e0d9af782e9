"""What mails say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.mailer.domain import Customer, Mail, News, render

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
CUSTOMER = Customer("Ada", "ada@shop.test")
PAID = {"total": "12.00", "currency": "EUR"}


def mail(kind: str, facts: dict[str, str], customer: Customer = CUSTOMER) -> Mail:
    return render(News("e1", kind, "o1", "u1", AT, facts), customer)


@pytest.mark.parametrize(
    ("kind", "facts", "subject", "body"),
    [
        (
            "confirmed",
            PAID,
            "Your order o1 is confirmed",
            "thank you for your order o1. All of it is reserved.\nWe ship it once 12.00 EUR are paid.",
        ),
        (
            "confirmed",
            {"total": "0.00", "currency": "EUR"},
            "Your order o1 is confirmed",
            "thank you for your order o1. All of it is reserved.\nThere is nothing to pay. We ship it soon.",
        ),
        (
            "delayed",
            {},
            "Your order o1 is delayed",
            "your order o1 takes longer than usual. We go on trying; until it is confirmed, you may cancel it.",
        ),
        (
            "rejected",
            {"reason": "sold out"},
            "We could not accept your order o1",
            "we are sorry: we could not accept your order o1.\nThe reason: sold out\n\nNothing was charged.",
        ),
        (
            "shipped",
            {"shipment_number": "s1"},
            "Your order o1 is on its way",
            "your order o1 has left our warehouse. Its shipment number is s1.",
        ),
    ],
)
def test_each_kind_has_its_words(kind: str, facts: dict[str, str], subject: str, body: str) -> None:
    """Subject and text, with the order's facts in their places."""
    text = f"Hello Ada,\n\n{body}\n\nYour Polyglot Shop\n"
    assert mail(kind, facts) == Mail("<e1@shop.test>", kind, "o1", CUSTOMER, subject, text, AT)


@pytest.mark.parametrize(
    ("total", "free"), [("0", True), ("0.000", True), ("10", False), ("0.10", False), ("100.00", False)]
)
def test_only_an_order_that_costs_nothing_is_free(total: str, *, free: bool) -> None:
    """Zero in any currency's places is free; an amount with zeros in it is not."""
    text = mail("confirmed", {"total": total, "currency": "JPY"}).text
    assert ("nothing to pay" in text) == free


def test_an_amount_of_an_order_that_is_not_confirmed_says_nothing_of_paying() -> None:
    """A shipped order that was free is shipped, not confirmed again."""
    assert "has left our warehouse" in mail("shipped", {"total": "0", "shipment_number": "s1"}).text


def test_a_confirmation_without_its_amount_is_an_error() -> None:
    """It is not taken for a free one."""
    with pytest.raises(KeyError):
        mail("confirmed", {})


def test_a_kind_that_no_mail_is_written_about_is_an_error() -> None:
    """It is not guessed at."""
    with pytest.raises(KeyError):
        mail("paid", {})


def test_a_name_with_line_breaks_begins_no_header() -> None:
    """Blanks of any kind become one; the address stays as it is."""
    sent = mail("delayed", {}, Customer(" Ada\r\nBcc: all@shop.test ", "ada@shop.test"))
    assert sent.recipient == Customer("Ada Bcc: all@shop.test", "ada@shop.test")
    assert sent.text.startswith("Hello Ada Bcc: all@shop.test,\n")
