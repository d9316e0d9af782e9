"""What is missing, doubled or altered among the records of one order, or of none, is found and said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shop.audit.findings import State
from shop.audit.judgement import judge, stranger
from shop.audit.records import (
    Item,
    Mail,
    Order,
    Payment,
    Refund,
    Reservation,
    SalesOrder,
    Traces,
)
from tests.audit.orders import (
    ITEMS,
    LETTER,
    MAILS,
    PAYMENT,
    PENDING,
    RANKED,
    REFUND,
    RESERVATION,
    SALE,
    SHIPPED,
    WEBHOOK,
    a,
    an_order,
    around,
    said,
    settled,
)


def test_shipped_order_whose_records_agree_is_settled() -> None:
    """There is nothing to say of it, also when it has been delivered since, or mail addresses differ in case."""
    assert judge(an_order("shipped", *SHIPPED), settled(), around()) == []
    assert judge(an_order("shipped", *SHIPPED), settled(email="Ann@shop.test"), around()) == []


@pytest.mark.parametrize(
    "order",
    [
        an_order("shipped", "order.placed", "order.delayed", *SHIPPED[1:]),
        an_order("shipped", "order.placed", *SHIPPED[1:], "order.delayed"),
    ],
)
def test_delay_belongs_before_the_first_step(order: Order) -> None:
    """An order that was delayed is settled when it is shipped; one that was delayed afterwards is not."""
    late = order.history[-1].type == "order.delayed"
    mails = [
        replace(mail, message_id=f"e{number}@shop.test")
        for mail, number in zip(MAILS, (2, 4) if late else (3, 5), strict=True)
    ]
    mails.append(Mail("o1", "e5@shop.test" if late else "e2@shop.test", "delayed", "ann@shop.test"))
    found, text = said(order, settled(mails=mails))
    assert (found is State.SETTLED, "but its history is" in text) == (not late, late)


@pytest.mark.parametrize("status", ["rejected", "cancelled"])
def test_undone_order_is_settled(status: str) -> None:
    """What was released, cancelled, never collected or given back whole is undone."""
    order = an_order(status, "order.placed", f"order.{status}")
    mails = [Mail("o1", "e2@shop.test", "rejected", "ann@shop.test")] if status == "rejected" else []
    undone = Traces(
        reservations=[Reservation("o1", "released", {})],
        sales_orders=[SalesOrder("o1", "cancelled", "", "", [], [])],
        payments=[replace(PAYMENT, status="refunded", refunded=10_050)],
        refunds=[REFUND],
        mails=mails,
        email="ann@shop.test",
    )
    assert judge(order, undone, around()) == []
    assert judge(order, replace(undone, payments=[replace(PAYMENT, status="canceled")], refunds=[]), around()) == []


WRONG: dict[str, tuple[dict[str, Any], State, str]] = {
    "no reservation": ({"reservations": []}, State.LOST, "inventory has no reservation"),
    "two reservations": ({"reservations": [RESERVATION] * 2}, State.DIFFERENT, "inventory has 2 reservations"),
    "reservation of other pieces": (
        {"reservations": a("reservations", lines={"42": 2})},
        State.DIFFERENT,
        "reservation is of",
    ),
    "reservation still held": (
        {"reservations": a("reservations", state="held")},
        State.DIFFERENT,
        "reservation is held",
    ),
    "no sales order": ({"sales_orders": []}, State.LOST, "the ERP has no sales order"),
    "two sales orders": ({"sales_orders": [SALE] * 2}, State.DIFFERENT, "the ERP has 2 sales orders"),
    "sales order of another quantity": (
        {"sales_orders": a("sales_orders", items=[replace(ITEMS[0], quantity=3), ITEMS[1]])},
        State.DIFFERENT,
        "3 x 42",
    ),
    "sales order at another price": (
        {"sales_orders": a("sales_orders", items=[replace(ITEMS[0], unit_price=Decimal(5)), ITEMS[1]])},
        State.DIFFERENT,
        "at 5,",
    ),
    "sales order without a line": (
        {"sales_orders": a("sales_orders", items=ITEMS[:1])},
        State.DIFFERENT,
        "has the lines",
    ),
    "sales order of another customer": (
        {"sales_orders": a("sales_orders", customer_id="u2")},
        State.DIFFERENT,
        "customer u2",
    ),
    "sales order in another currency": (
        {"sales_orders": a("sales_orders", currency="USD")},
        State.DIFFERENT,
        "currency USD",
    ),
    "sales order without everything": (
        {"sales_orders": a("sales_orders", items=[], customer_id="", currency="")},
        State.DIFFERENT,
        "the ERP has the lines",
    ),
    "no shipment": ({"sales_orders": a("sales_orders", shipments=[])}, State.LOST, "has the shipments []"),
    "two shipments": ({"sales_orders": a("sales_orders", shipments=["0000000007", "8"])}, State.DIFFERENT, "'8'"),
    "sales order still open": (
        {"sales_orders": a("sales_orders", state="open")},
        State.DIFFERENT,
        "sales order is open",
    ),
    "no payment": ({"payments": []}, State.LOST, "has no payment pi_1"),
    "two payments": ({"payments": [PAYMENT, replace(PAYMENT, id="pi_2")]}, State.DIFFERENT, "2 payments: pi_1, pi_2"),
    "another payment": ({"payments": a("payments", id="pi_2")}, State.DIFFERENT, "pi_2 is not pi_1"),
    "ten times the amount": ({"payments": a("payments", amount=100_500)}, State.DIFFERENT, "100500 minor units of eur"),
    "payment in another currency": (
        {"payments": a("payments", currency="usd")},
        State.DIFFERENT,
        "10050 minor units of usd",
    ),
    "payment not collected": ({"payments": a("payments", status="canceled")}, State.DIFFERENT, "pi_1 is canceled"),
    "payment given back in part": ({"payments": a("payments", refunded=50)}, State.DIFFERENT, "50 given back"),
    "no webhook": ({"webhooks": []}, State.LOST, "no payment_intent.succeeded"),
    "two webhooks": ({"webhooks": [WEBHOOK, replace(WEBHOOK, id="w2")]}, State.DIFFERENT, "has 2 webhooks"),
    "webhook of another amount": ({"webhooks": a("webhooks", amount=1)}, State.DIFFERENT, "w1 has 1 minor units"),
    "webhook of another payment": ({"webhooks": a("webhooks", payment_id="pi_2")}, State.DIFFERENT, "payment pi_2"),
    "webhook not processed": ({"webhooks": a("webhooks", status="received", outcome="")}, State.LOST, "no message in"),
    "no mail": ({"mails": MAILS[1:]}, State.LOST, "no mail confirmed"),
    "mail sent twice": ({"mails": [*MAILS, MAILS[0]]}, State.DIFFERENT, "e2@shop.test 2 times"),
    "mail of no event": (
        {"mails": [*MAILS, Mail("o1", "x@y", "shipped", "ann@shop.test")]},
        State.DIFFERENT,
        "none of its events",
    ),
    "mail to another recipient": (
        {"mails": [replace(MAILS[0], to="bob@shop.test"), MAILS[1]]},
        State.DIFFERENT,
        "went to bob@shop.test",
    ),
    "mail of another kind": (
        {"mails": [replace(MAILS[0], kind="shipped"), MAILS[1]]},
        State.DIFFERENT,
        "of the kind shipped",
    ),
    "no account": ({"email": None}, State.DIFFERENT, "no account of its customer u1"),
    "dead letter that is there twice": (
        {"letters": [LETTER, LETTER]},
        State.WAITING,
        "dead letter e2 is in order-mail 2 times",
    ),
    "dead letter of no event": (
        {"letters": [replace(LETTER, id="e9")]},
        State.DIFFERENT,
        "e9 (order.confirmed) in order-mail belongs to none of its events",
    ),
    "dead letter's type": (
        {"letters": [replace(LETTER, type="order.paid")]},
        State.DIFFERENT,
        "e2 (order.paid) in order-mail is of the event order.confirmed",
    ),
    "dead letter's payload": (
        {"letters": [replace(LETTER, data={"total": "1.00"})]},
        State.DIFFERENT,
        'has {"total": "1.00"}, its event {"currency": "EUR"',
    ),
    "dead letter without a payload": (
        {"letters": [replace(LETTER, data=None)]},
        State.DIFFERENT,
        "has no JSON object",
    ),
    "dead letter": ({"letters": [LETTER]}, State.WAITING, "shop dead-letters replay e2 --queue order-mail"),
}


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_each_record_that_is_missing_doubled_or_altered_is_named(kind: str) -> None:
    """One record of a shipped order that is not as it was is found, and said."""
    changes, state, words = WRONG[kind]
    found, text = said(an_order("shipped", *SHIPPED), settled(**changes))
    assert found is state, text
    assert words in text


ALTERED: dict[str, tuple[Callable[[Order], Order], str]] = {
    "total": (
        lambda order: replace(order, total=Decimal("1000.50")),
        "its total is 1000.50 EUR, but its lines come to 100.50",
    ),
    "currency": (lambda order: replace(order, currency="USD"), "the currency 'EUR', the order has 'USD'"),
    "customer": (lambda order: replace(order, user_id="u2"), "user_id 'u1', the order has 'u2'"),
    "line": (lambda order: replace(order, items=[replace(ITEMS[0], product_id="8"), ITEMS[1]]), "2 x 8 at 49"),
    "payment": (lambda order: replace(order, payment_id="pi_2"), "payment_id 'pi_1', the order has 'pi_2'"),
    "amount that is none": (lambda order: replace(order, total=Decimal("NaN")), "its total is NaN"),
    "event without its facts": (
        lambda order: replace(order, history=[replace(order.history[0], data={}), *order.history[1:]]),
        "has the items ''",
    ),
    "event missing": (
        lambda order: replace(order, history=[*order.history[:2], order.history[3]]),
        "gaps or doubles: [1, 2, 4]",
    ),
    "event doubled": (lambda order: replace(order, history=[*order.history, order.history[3]]), "gaps or doubles"),
    "status": (lambda order: replace(order, status="cancelled"), "it is cancelled, but its history is"),
    "unknown status": (lambda order: replace(order, status="gone"), "it is gone, but its history is"),
}


@pytest.mark.parametrize(
    ("refunds", "words"),
    [
        ([], "has 10050 given back, its refunds come to 0"),
        ([REFUND, replace(REFUND, id="re_2")], "its refunds come to 20100"),
        ([replace(REFUND, amount=50)], "its refunds come to 50"),
        ([replace(REFUND, currency="usd")], "refund re_1 is in usd, payment pi_1 in eur"),
        ([REFUND, replace(REFUND, id="re_2", payment_id="pi_2")], "refund re_2 is of payment pi_2"),
    ],
)
def test_refund_that_is_missing_doubled_or_altered_is_named(refunds: list[Refund], words: str) -> None:
    """What the payment says was given back is what its refunds come to, in its currency."""
    order = an_order("cancelled", "order.placed", "order.cancelled")
    payment = replace(PAYMENT, status="refunded", refunded=10_050)
    found, text = said(order, Traces(payments=[payment], refunds=refunds, email="ann@shop.test"))
    assert found is State.DIFFERENT
    assert words in text


def test_refunds_that_were_due_belong_to_the_history() -> None:
    """Late money that was given back is settled; a refund of an unknown payment, or of a sale, is named."""
    payment = replace(PAYMENT, status="refunded", refunded=10_050)
    ended = ("order.placed", "order.cancelled", "order.refund_due")
    traces = Traces(payments=[payment], refunds=[REFUND], webhooks=[WEBHOOK], email="ann@shop.test")
    for history in (ended, (*ended, "order.refund_due")):
        assert judge(an_order("cancelled", *history), traces, around()) == []
    strange = replace(traces, payments=[], refunds=[])
    found, text = said(an_order("cancelled", *ended), strange)
    assert (found, "order.refund_due has the payment_id 'pi_1'" in text) == (State.DIFFERENT, True)
    sold = an_order("shipped", *SHIPPED, "order.refund_due")
    assert "it is shipped, but its history is" in said(sold, settled())[1]


def test_payment_that_is_refunded_in_name_only_is_named() -> None:
    """A payment is refunded when all of it was given back, and only then."""
    order = an_order("cancelled", "order.placed", "order.cancelled")
    named = Traces(payments=[replace(PAYMENT, status="refunded")], email="ann@shop.test")
    assert "pi_1 of 10050 is refunded, 0 given back" in said(order, named)[1]


@pytest.mark.parametrize("field", sorted(ALTERED))
def test_order_that_was_altered_contradicts_its_own_history(field: str) -> None:
    """What the orders service has changed without an event is different from its events."""
    alter, words = ALTERED[field]
    found, text = said(alter(an_order("shipped", *SHIPPED)), settled())
    assert RANKED.index(found) >= RANKED.index(State.DIFFERENT)
    assert words in text


@pytest.mark.parametrize(
    ("traces", "words"),
    [
        (Traces(reservations=[RESERVATION]), "inventory has it"),
        (Traces(sales_orders=[SALE], payments=[PAYMENT]), "the ERP, the payment provider has it"),
        (Traces(mails=MAILS), "the mail server has it"),
        (Traces(webhooks=[WEBHOOK]), "the webhook store has it"),
    ],
)
def test_records_of_an_order_that_was_never_placed_are_named(traces: Traces, words: str) -> None:
    """A record that other systems have without the orders service is different, and names the system."""
    (finding,) = stranger(traces, around())
    assert finding.state is State.DIFFERENT
    assert words in finding.what


def test_webhook_about_demo_data_is_no_contradiction() -> None:
    """The orders service has a demo order, though it is not judged: what was applied to it is on record there."""
    assert stranger(Traces(webhooks=[WEBHOOK]), around(), demo=True) == []
    assert [each.state for each in stranger(Traces(mails=MAILS), around(), demo=True)] == [State.DIFFERENT]


def test_letters_and_webhooks_about_no_order_wait_too() -> None:
    """A dead letter waits for a person, whatever it is about; a webhook of another partner is judged by itself."""
    assert [each.state for each in stranger(Traces(letters=[LETTER]), around())] == [State.WAITING]
    pushed = replace(WEBHOOK, provider="github", type="push", order_id="", payment_id="", amount=0, currency="")
    assert stranger(Traces(webhooks=[pushed]), around()) == []
    forgotten = replace(pushed, status="received", outcome="")
    assert [each.state for each in stranger(Traces(webhooks=[forgotten]), around())] == [State.LOST]


@pytest.mark.parametrize(
    ("order", "amount", "currency", "fits"),
    [
        (("500", "JPY"), 500, "jpy", True),
        (("500", "JPY"), 50_000, "jpy", False),
        (("1.234", "KWD"), 1_234, "kwd", True),
        (("1.23", "USD"), 123, "usd", True),
    ],
)
def test_amounts_are_compared_in_the_currencys_own_minor_units(
    order: tuple[str, str], amount: int, currency: str, *, fits: bool
) -> None:
    """ISO 4217: the yen has no minor unit, the dinar three digits of it."""
    total = Decimal(order[0])
    dear = replace(PENDING, total=total, currency=order[1], items=[Item("42", 1, total)])
    _, text = said(dear, settled(payments=[Payment("o1", "pi_1", "processing", amount, currency)]))
    assert (f"payment pi_1 is of {amount}" in text) is not fits
