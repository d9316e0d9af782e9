"""What will still move an order is named; where nothing will, or it cannot be known, that is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shop.audit.findings import State
from shop.audit.judgement import judge
from shop.audit.records import (
    Letter,
    Order,
    PaymentEvent,
    Queue,
)
from tests.audit.orders import (
    CANCELLED,
    COLLECTING,
    CONFIRMED,
    EXACT,
    HALFWAY,
    HELD,
    HIDDEN,
    LATE,
    MAILS,
    NOW,
    PAID,
    PAYMENT,
    PENDING,
    PLACED_LETTER,
    RANKED,
    RECEIVED,
    REFUND_DUE,
    SHIPPED,
    WEBHOOK,
    a,
    a_message,
    an_order,
    around,
    said,
    settled,
)

STEPS: dict[str, tuple[Order, dict[str, Any], State, str]] = {
    "not published": (
        replace(PENDING, unpublished=1),
        HALFWAY["pending"],
        State.IN_FLIGHT,
        "order.placed in the outbox of orders",
    ),
    "message": (
        PENDING,
        {**HALFWAY["pending"], "messages": a_message("order-processing")},
        State.IN_FLIGHT,
        "order-processing (attempt 3, again at 2026-03-01 12:00:30)",
    ),
    "dead letter": (
        PENDING,
        {**HALFWAY["pending"], "letters": [PLACED_LETTER]},
        State.WAITING,
        "dead letter e1",
    ),
    "message of another queue": (
        PENDING,
        {**HALFWAY["pending"], "messages": a_message("order-mail")},
        State.LOST,
        "it is pending since order.placed of 2026-03-01 11:00:00, and no message in order-processing",
    ),
    "collecting": (CONFIRMED, COLLECTING, State.IN_FLIGHT, "the provider is collecting it"),
    "news not delivered": (
        CONFIRMED,
        {**HALFWAY["confirmed"], "payment_events": [PaymentEvent("o1", "evt_1", "payment_intent.succeeded", 4)]},
        State.IN_FLIGHT,
        "evt_1: the provider delivers it (failed attempts: 4)",
    ),
    "webhook not published": (
        CONFIRMED,
        {**HALFWAY["confirmed"], "webhooks": [replace(RECEIVED[0], published=False)]},
        State.IN_FLIGHT,
        "webhook_worker publishes",
    ),
    "webhook in its queue": (
        CONFIRMED,
        {**HALFWAY["confirmed"], "webhooks": RECEIVED, "messages": a_message("webhook-processing", "w1")},
        State.IN_FLIGHT,
        "webhook w1",
    ),
    "webhook dead": (
        CONFIRMED,
        {
            **HALFWAY["confirmed"],
            "webhooks": RECEIVED,
            "letters": [Letter("w1", "webhook-processing", "w1", "x", "no")],
        },
        State.WAITING,
        "dead letter w1",
    ),
    "webhook in no queue": (CONFIRMED, {**HALFWAY["confirmed"], "webhooks": RECEIVED}, State.LOST, "w1 (stripe"),
    "webhook lost": (
        CONFIRMED,
        HALFWAY["confirmed"],
        State.LOST,
        "pi_1 has succeeded, and its webhook is not in the store",
    ),
    "webhook without effect": (
        CONFIRMED,
        {**HALFWAY["confirmed"], "webhooks": [WEBHOOK]},
        State.LOST,
        "payment_intent.succeeded was applied",
    ),
    "payment lost": (CONFIRMED, {**HALFWAY["confirmed"], "payments": []}, State.LOST, "has no payment pi_1"),
    "payment canceled": (
        CONFIRMED,
        {**HALFWAY["confirmed"], "payments": a("payments", status="canceled")},
        State.LOST,
        "pi_1 is canceled",
    ),
    "paid": (
        PAID,
        {**HALFWAY["paid"], "messages": a_message("order-fulfilment")},
        State.IN_FLIGHT,
        "order-fulfilment",
    ),
    "paid and forgotten": (PAID, HALFWAY["paid"], State.LOST, "it is paid since order.paid"),
    "being undone": (
        CANCELLED,
        {**HELD, "messages": a_message("order-compensation")},
        State.IN_FLIGHT,
        "its reservation is held",
    ),
    "not undone": (CANCELLED, HELD, State.LOST, "its reservation is held: no message in order-compensation"),
    "money kept": (
        CANCELLED,
        {**HELD, "reservations": [], "payments": [PAYMENT]},
        State.LOST,
        "with 0 of 10050 given back",
    ),
    "money given back in part": (
        CANCELLED,
        {**HELD, "reservations": [], "payments": a("payments", refunded=10_049)},
        State.LOST,
        "10049 of 10050",
    ),
    "late money being collected": (
        CANCELLED,
        {**HELD, "reservations": [], "payments": a("payments", status="processing")},
        State.IN_FLIGHT,
        "payment pi_1: the provider is collecting it, its webhook refunds it",
    ),
    "late money not told": (
        CANCELLED,
        {**LATE, "payment_events": [PaymentEvent("o1", "evt_1", "payment_intent.succeeded", 2)]},
        State.IN_FLIGHT,
        "evt_1: the provider delivers it",
    ),
    "late money in its queue": (
        CANCELLED,
        {**LATE, "webhooks": RECEIVED, "messages": a_message("webhook-processing", "w1")},
        State.IN_FLIGHT,
        "with 0 of 10050 given back: webhook w1",
    ),
    "late money's refund not published": (
        replace(REFUND_DUE, unpublished=1),
        {**LATE, "webhooks": [WEBHOOK]},
        State.IN_FLIGHT,
        "order.refund_due in the outbox of orders",
    ),
    "late money's refund in its queue": (
        REFUND_DUE,
        {**LATE, "webhooks": [WEBHOOK], "messages": a_message("order-compensation")},
        State.IN_FLIGHT,
        "with 0 of 10050 given back",
    ),
    "late money's refund lost": (
        REFUND_DUE,
        {**LATE, "webhooks": [WEBHOOK]},
        State.LOST,
        "given back: no message in order-compensation",
    ),
    "mail on its way": (
        an_order("shipped", *SHIPPED),
        {"mails": MAILS[:1], "messages": a_message("order-mail")},
        State.IN_FLIGHT,
        "no mail shipped",
    ),
}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_next_step_is_named_or_the_order_is_lost(step: str) -> None:
    """An order that has not ended is moved by what is named; where nothing is, its last step on record is."""
    order, changes, state, words = STEPS[step]
    found, text = said(order, settled(**changes))
    assert found is state, text
    assert words in text


@pytest.mark.parametrize("status", sorted(HALFWAY))
def test_orders_in_flight_are_compared_too(status: str) -> None:
    """What is on record of an order in flight has to be right already."""
    order = {"pending": PENDING, "confirmed": CONFIRMED, "paid": PAID}[status]
    dear = {**HALFWAY[status], "payments": a("payments", amount=1)}
    found, text = said(order, settled(**dear, messages=a_message("order-processing")))
    assert "1 minor units of eur" in text
    assert RANKED.index(found) >= RANKED.index(State.DIFFERENT)


def test_rabbitmq_leaves_open_what_a_consumer_may_hold() -> None:
    """Held deliveries cannot be seen there: in flight for as long as one may be held, undecided afterwards."""
    fresh = replace(PENDING, history=[replace(PENDING.history[0], time=NOW - timedelta(seconds=10))])
    assert said(fresh, settled(**HALFWAY["pending"]), around(queues=HIDDEN))[0] is State.IN_FLIGHT
    found, text = said(PENDING, settled(**HALFWAY["pending"]), around(queues=HIDDEN))
    assert found is State.OPEN
    assert "it is pending since order.placed of 2026-03-01 11:00:00" in text
    three = {**HIDDEN, "order-processing": Queue(exact=False, visible=3)}
    found, text = said(PENDING, settled(**HALFWAY["pending"]), around(queues=three))
    assert (found, text) == (State.IN_FLIGHT, "one of 3 messages in order-processing")


def test_rabbitmqs_own_counts_close_what_amqp_leaves_open() -> None:
    """Where the broker counts what consumers hold, an empty queue means that nothing moves the order any more."""
    counted = {name: Queue(exact=False, visible=0, counted=True) for name in EXACT}
    found, text = said(PENDING, settled(**HALFWAY["pending"]), around(queues=counted))
    assert found is State.LOST
    assert "it is pending since order.placed of 2026-03-01 11:00:00, and no message in order-processing" in text
    fresh = replace(PENDING, history=[replace(PENDING.history[0], time=NOW - timedelta(seconds=10))])
    assert said(fresh, settled(**HALFWAY["pending"]), around(queues=counted))[0] is State.IN_FLIGHT
    held = {**counted, "order-processing": Queue(exact=False, visible=1, counted=True)}
    assert said(PENDING, settled(**HALFWAY["pending"]), around(queues=held))[0] is State.IN_FLIGHT


@pytest.mark.parametrize("book", ["inventory", "erp", "payments", "webhooks", "mails", "users"])
def test_book_that_could_not_be_read_leaves_the_order_open(book: str) -> None:
    """What is missing in a book that could not be read is neither lost nor settled."""
    blank = {"inventory": "reservations", "erp": "sales_orders"}.get(book, book)
    missing: dict[str, Any] = {"email": None} if book == "users" else {blank: []}
    found, text = said(an_order("shipped", *SHIPPED), settled(**missing), around(unread={book: "it is away"}))
    assert found is State.OPEN, text
    assert "could not be read" in text


def test_broker_that_could_not_be_read_leaves_open_what_moves() -> None:
    """Without the queues, a settled order is still settled, and one in flight cannot be judged."""
    unread = around(unread={"broker": "it is away"}, queues={})
    assert said(an_order("shipped", *SHIPPED), settled(), unread)[0] is State.SETTLED
    assert said(PENDING, settled(**HALFWAY["pending"]), unread)[0] is State.OPEN


def test_mail_that_was_deleted_on_purpose_is_not_lost() -> None:
    """A mail that the mail server may have had and deleted leaves the order open; later ones are still missed."""
    deleted = around(mails_forgotten_until=NOW)
    found, text = said(an_order("shipped", *SHIPPED), settled(mails=[]), deleted)
    assert (found, text.count("deleted by the mail server")) == (State.OPEN, 2)
    before = around(mails_forgotten_until=NOW - timedelta(hours=2))
    assert said(an_order("shipped", *SHIPPED), settled(mails=[]), before)[0] is State.LOST


def test_webhook_whose_retention_is_over_is_not_missed() -> None:
    """A payment is known to its provider and to the order; the webhook between them may be deleted after a while."""
    later = around(webhooks_complete_since=NOW)
    assert judge(an_order("shipped", *SHIPPED), settled(webhooks=[]), later) == []
