"""What the audit says, word for word, and where its bounds are: a person acts on it, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shop.audit import comparison, steps
from shop.audit.findings import Finding, State, undecided
from shop.audit.judgement import judge, stranger
from shop.audit.records import Item, Letter, Mail, Message, Order, Queue, Reservation, Stock, Traces
from shop.audit.stock import Promised, judge_stock
from tests.audit.orders import (
    CANCELLED,
    CONFIRMED,
    EXACT,
    HALFWAY,
    HELD,
    HIDDEN,
    ITEMS,
    LATE,
    LETTER,
    MAILS,
    NOW,
    PAID,
    PAYMENT,
    PENDING,
    RECEIVED,
    REFUND,
    REFUND_DUE,
    SALE,
    SHIPPED,
    WEBHOOK,
    a,
    a_message,
    an_order,
    around,
    settled,
)

SOLD = an_order("shipped", *SHIPPED)
SINCE = NOW - timedelta(hours=1)
FREE = an_order("confirmed", "order.placed", "order.confirmed", total=Decimal(0), items=[Item("42", 1, Decimal(0))])
# Queues of which the broker counts what consumers hold, too.
COUNTED = {name: Queue(exact=False, visible=0, counted=True) for name in EXACT}


def words(order: Order, traces: Traces, **changes: Any) -> list[str]:
    """All that is said of an order, the worst first."""
    return [finding.what for finding in judge(order, traces, around(**changes))]


UNREAD = {
    "inventory": ("reservations", "inventory could not be read"),
    "erp": ("sales_orders", "the ERP could not be read"),
    "payments": ("payments", "the payment provider could not be read"),
    "webhooks": ("webhooks", "the webhook store could not be read"),
    "mails": ("mails", "the mail server could not be read"),
}


@pytest.mark.parametrize("book", sorted(UNREAD))
def test_a_book_that_could_not_be_read_is_named(book: str) -> None:
    """By the system that has it, and nothing else is said."""
    kind, expected = UNREAD[book]
    assert words(SOLD, settled(**{kind: []}), unread={book: "away"}) == [expected]


def test_recipients_are_not_compared_without_the_users_service() -> None:
    """Once, for the two mails of a shipped order."""
    expected = "the users service could not be read, so recipients were not compared"
    assert words(SOLD, settled(email=None), unread={"users": "away"}) == [expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"reservations": []}, "inventory has no reservation"),
        ({"sales_orders": []}, "the ERP has no sales order"),
        ({"webhooks": []}, "it is paid, but the webhook store has no payment_intent.succeeded"),
        (
            {"payments": a("payments", status="canceled")},
            "payment pi_1 is canceled, the order is shipped",
        ),
        (
            {"mails": [replace(MAILS[0], to="bob@shop.test"), MAILS[1]]},
            "mail e2@shop.test (confirmed) went to bob@shop.test, the customer is ann@shop.test",
        ),
    ],
)
def test_what_a_shipped_order_misses(changes: dict[str, Any], expected: str) -> None:
    """One sentence."""
    assert words(SOLD, settled(**changes)) == [expected]


def test_money_of_a_sale_that_was_given_back() -> None:
    """The amount is said, in minor units, and what its refunds come to."""
    traces = settled(payments=a("payments", refunded=50), refunds=[replace(REFUND, amount=50)])
    assert words(SOLD, traces) == ["payment pi_1 is succeeded, 50 given back, the order is shipped"]


def test_the_worst_is_said_first() -> None:
    """A loss comes before a dead letter."""
    assert words(SOLD, settled(reservations=[], letters=[LETTER]))[0] == "inventory has no reservation"


@pytest.mark.parametrize(
    ("types", "expected"), [((), "empty"), (("order.placed", "order.paid"), "order.placed, order.paid")]
)
def test_a_history_that_leads_nowhere_is_shown(types: tuple[str, ...], expected: str) -> None:
    """All of it, or that there is none."""
    found = list(comparison.of_order(an_order("paid", *types, payment_id="pi_1")))
    assert found == [Finding(State.DIFFERENT, f"it is paid, but its history is {expected}")]


def test_the_sum_of_no_lines_has_no_value() -> None:
    """An order without lines comes to nothing."""
    assert list(comparison.of_order(an_order("pending", total=Decimal(5), items=[], history=[]))) == [
        Finding(State.DIFFERENT, "its total is 5 EUR, but its lines come to 0"),
        Finding(State.DIFFERENT, "it is pending, but its history is empty"),
    ]


def test_late_money_belongs_to_a_rejected_order_too() -> None:
    """Refunds may be due after either end."""
    ended = ("order.placed", "order.rejected", "order.refund_due")
    assert list(comparison.of_order(an_order("rejected", *ended))) == []


def test_events_that_are_not_in_the_contracts_form_are_shown_as_they_are() -> None:
    """A total that is none, items that are no list, a list that is elsewhere."""
    placed = PENDING.history[0]

    def difference(**facts: object) -> str:
        order = replace(PENDING, history=[replace(placed, data={**placed.data, **facts})])
        (found,) = comparison.of_order(order)
        return found.what

    lines = "'2 x 42 at 49, 1 x 7 at 2.5'"
    assert difference(total="much") == "order.placed has the total 'much', the order has '100.5'"
    assert difference(items=[{"product_id": "42"}]) == (
        f"order.placed has the items \"[{{'product_id': '42'}}]\", the order has {lines}"
    )
    assert difference(items="none") == f"order.placed has the items 'none', the order has {lines}"
    wrong = [{"product_id": "42", "quantity": 1, "unit_price": "1"}]
    assert difference(currency=wrong) == f"order.placed has the currency {str(wrong)!r}, the order has 'EUR'"


def test_pieces_of_one_product_in_two_lines_are_one_in_the_reservation() -> None:
    """They are added up."""
    twice = replace(SOLD, items=[Item("42", 2, Decimal(1)), Item("42", 1, Decimal(1))])
    traces = settled(reservations=[Reservation("o1", "shipped", {"42": 3})])
    assert list(comparison.of_reservation(twice, traces, around())) == []


@pytest.mark.parametrize(
    ("reservation", "expected"),
    [
        (Reservation("o1", "released", {}), []),
        (Reservation("o1", "released", {"42": 1}), ["its reservation is of {'42': 1}, not of {'42': 2, '7': 1}"]),
        (Reservation("o1", "held", {}), ["its reservation is of {}, not of {'42': 2, '7': 1}"]),
    ],
)
def test_only_a_released_reservation_may_be_empty(reservation: Reservation, expected: list[str]) -> None:
    """It was released before anything had been reserved."""
    found = comparison.of_reservation(CANCELLED, Traces(reservations=[reservation]), around())
    assert [finding.what for finding in found] == expected


@pytest.mark.parametrize("known", [{"customer_id": "u2"}, {"currency": "USD"}, {"items": ITEMS[:1]}])
def test_a_cancelled_sales_order_is_compared_in_all_that_it_has(known: dict[str, Any]) -> None:
    """One that was cancelled before it was registered has nothing; any one thing is compared with all."""
    sale = replace(
        SALE, **{"state": "cancelled", "shipments": [], "customer_id": "", "currency": "", "items": [], **known}
    )
    found = list(comparison.of_sales_order(CANCELLED, Traces(sales_orders=[sale]), around()))
    assert len(found) == 3
    blank = replace(sale, customer_id="", currency="", items=[])
    assert list(comparison.of_sales_order(CANCELLED, Traces(sales_orders=[blank]), around())) == []


def test_an_event_without_its_shipment_number_is_shown_as_empty() -> None:
    """So that it differs from every number."""
    last = replace(SOLD.history[3], data={"order_id": "o1", "user_id": "u1"})
    order = replace(SOLD, history=[*SOLD.history[:3], last])
    assert words(order, settled()) == ["the ERP has the shipments ['0000000007'], order.shipped has ['']"]


def test_a_free_order_has_no_payment() -> None:
    """Those that the provider has are named."""
    found = list(comparison.of_payments(FREE, Traces(payments=[PAYMENT, replace(PAYMENT, id="pi_2")]), around()))
    expected = "the order has nothing to pay, and the payment provider has pi_1, pi_2"
    assert found == [Finding(State.DIFFERENT, expected)]


def test_a_refund_that_is_due_without_its_payment_is_shown_as_empty() -> None:
    """And only where the provider could be read."""
    due = replace(REFUND_DUE.history[2], data={"order_id": "o1", "user_id": "u1"})
    order = replace(REFUND_DUE, history=[*REFUND_DUE.history[:2], due])
    expected = "order.refund_due has the payment_id '', which the payment provider does not have"
    assert list(comparison.of_refunds_due(order, Traces(), around())) == [Finding(State.DIFFERENT, expected)]
    assert list(comparison.of_refunds_due(order, Traces(), around(unread={"payments": "away"}))) == []


@pytest.mark.parametrize(("amount", "fits"), [(1, True), (0, False)])
def test_a_payment_of_one_minor_unit_can_be_refunded_and_one_of_nothing_cannot(amount: int, *, fits: bool) -> None:
    """All of it was given back."""
    payment = replace(PAYMENT, status="refunded", amount=amount, refunded=amount)
    traces = Traces(payments=[payment], refunds=[replace(REFUND, amount=amount)])
    assert (list(comparison.of_refunds(traces, around())) == []) is fits


def test_one_dead_letter_is_not_there_twice() -> None:
    """Nor is one of a webhook compared with the order's events; the next one is."""
    other = Letter("w1", "webhook-processing", "w1", "webhook.received", "no")
    assert list(comparison.of_letters(SOLD, Traces(letters=[LETTER]))) == []
    found = comparison.of_letters(SOLD, Traces(letters=[other, replace(LETTER, id="e9")]))
    expected = "dead letter e9 (order.confirmed) in order-mail belongs to none of its events"
    assert [finding.what for finding in found] == [expected]


def test_webhooks_are_compared_in_the_currencys_own_minor_units() -> None:
    """The yen has none; whoever reads its webhook in hundredths finds a difference that is none."""
    yen = replace(SOLD, total=Decimal(500), currency="JPY")
    traces = Traces(webhooks=[replace(WEBHOOK, amount=500, currency="jpy")])
    assert list(comparison.of_webhooks(yen, traces, around())) == []


def test_a_webhook_of_the_moment_since_when_they_are_complete_is_missed() -> None:
    """One of before is not."""
    for since, missed in ((SINCE, 1), (SINCE + timedelta(microseconds=1), 0), (None, 1)):
        found = list(comparison.of_webhooks(SOLD, Traces(), around(webhooks_complete_since=since)))
        assert len(found) == missed


def test_free_orders_are_moved_by_their_queue() -> None:
    """The saga itself marks them as paid: with its message there it is in flight, without it is lost."""
    traces = settled(**{**HALFWAY["confirmed"], "payments": []})
    moving = replace(traces, messages=a_message("order-processing"))
    expected = "order.placed in order-processing (attempt 3, again at 2026-03-01 12:00:30)"
    assert expected in words(FREE, moving)
    lost = "it is confirmed since order.confirmed of 2026-03-01 11:00:00, and no message in order-processing"
    assert lost in words(FREE, traces)
    recent = replace(FREE, history=[*FREE.history[:1], replace(FREE.history[1], time=NOW)])
    held = "a consumer of order-processing holds its message of 2026-03-01 12:00:00"
    assert held in words(recent, traces, queues=COUNTED)


def test_several_events_that_wait_in_the_outbox_are_named_in_order() -> None:
    """The latest that are not published."""
    expected = "order.placed, order.confirmed in the outbox of orders: its relay publishes it"
    assert expected in words(replace(CONFIRMED, unpublished=2), settled(**HALFWAY["confirmed"]))


def test_the_mail_of_an_event_that_is_not_published_is_not_missed() -> None:
    """It comes after it."""
    waiting = replace(SOLD, unpublished=1)
    expected = ["order.shipped in the outbox of orders: its relay publishes it"]
    assert words(waiting, settled(mails=MAILS[:1])) == expected


def test_all_that_is_not_undone_is_named() -> None:
    """Of a rejected order as of a cancelled one."""
    rejected = an_order("rejected", "order.placed", "order.rejected")
    mail = Mail("o1", "e2@shop.test", "rejected", "ann@shop.test")
    open_ = replace(SALE, state="open", shipments=[])
    traces = settled(**{**HELD, "sales_orders": [open_], "mails": [mail]})
    expected = (
        "it is rejected since order.rejected of 2026-03-01 11:00:00, and its reservation is held; "
        "the ERP's sales order is open, with 0 shipments: no message in order-compensation or order-processing"
    )
    assert words(rejected, traces) == [expected]


def test_a_cancelled_sales_order_with_a_shipment_is_not_undone() -> None:
    """However it is called."""
    sale = replace(SALE, state="cancelled")
    traces = settled(**{**HELD, "reservations": [], "sales_orders": [sale], "mails": []})
    assert "the ERP's sales order is cancelled, with 1 shipments" in words(CANCELLED, traces)[0]


def test_money_that_was_given_back_whole_is_undone() -> None:
    """Also before the provider calls the payment refunded."""
    payment = replace(PAYMENT, refunded=PAYMENT.amount)
    found = words(CANCELLED, settled(**{**LATE, "payments": [payment], "refunds": [REFUND]}))
    assert found == [f"payment pi_1 of {PAYMENT.amount} is succeeded, {PAYMENT.amount} given back"]


def test_a_mail_of_the_moment_until_which_they_were_deleted_is_not_missed() -> None:
    """One of later is."""
    missing = settled(mails=MAILS[1:])
    expected = "its mail confirmed was deleted by the mail server, or was never there"
    assert words(SOLD, missing, mails_forgotten_until=SINCE) == [expected]
    later = words(SOLD, missing, mails_forgotten_until=SINCE - timedelta(microseconds=1))
    assert later == ["no mail confirmed of 2026-03-01 11:00:00: no message in order-mail"]


def test_a_consumer_may_hold_what_happened_lately() -> None:
    """For 200 s where the broker does not count what is held, for 30 s where it does; then that is said, or lost."""
    held = "a consumer of order-processing holds its message of 2026-03-01 "
    bounds = [
        (HIDDEN, 200, "order-processing is empty, but AMQP does not show what a consumer may hold for a retry"),
        (COUNTED, 30, "no message in order-processing"),
    ]
    for queues, seconds, afterwards in bounds:
        since = NOW - timedelta(seconds=seconds)
        asked = ("order-processing",), "o1"
        now = steps.queued(*asked, since, Traces(), around(queues=queues))
        assert now == Finding(State.IN_FLIGHT, f"{held}{since:%T}")
        past = steps.queued(*asked, since - timedelta(microseconds=1), Traces(), around(queues=queues))
        assert past.what == afterwards


@pytest.mark.parametrize(
    ("order", "traces", "what"),
    [
        (PENDING, HALFWAY["pending"], "order-processing"),
        (PAID, HALFWAY["paid"], "order-fulfilment"),
        (CANCELLED, HELD, "order-processing"),
        (SOLD, {"mails": MAILS[:1]}, "order-mail"),
    ],
)
def test_each_step_counts_from_its_event(order: Order, traces: dict[str, Any], what: str) -> None:
    """What happened just now may be held by a consumer."""
    history = [replace(event, time=NOW) for event in order.history]
    text = "\n".join(words(replace(order, history=history), settled(**traces), queues=COUNTED))
    assert f"a consumer of {what} holds its message of 2026-03-01 12:00:00" in text


def test_an_order_without_history_counts_from_when_it_was_placed() -> None:
    """There is no event to count from."""
    text = "\n".join(words(replace(PENDING, history=[]), settled(**HALFWAY["pending"]), queues=COUNTED))
    assert "a consumer of order-processing holds its message of 2026-03-01 12:00:00" in text


def test_a_webhook_counts_from_when_it_came() -> None:
    """Its state and its error are said."""
    found = steps.webhook(RECEIVED[0], Traces(), around(queues=COUNTED))
    expected = "webhook w1 (stripe payment_intent.succeeded) is failed after UPSTREAM_UNAVAILABLE: "
    held = "a consumer of webhook-processing holds its message of 2026-03-01 12:00:00"
    assert found == Finding(State.IN_FLIGHT, expected + held)
    fine = replace(RECEIVED[0], status="received", error="")
    expected = "webhook w1 (stripe payment_intent.succeeded) is received: no message in webhook-processing"
    assert steps.webhook(fine, Traces(), around()) == Finding(State.LOST, expected)


def test_a_message_that_waits_for_nothing_has_no_time() -> None:
    """The attempt is enough."""
    traces = Traces(messages=[Message("o1", "order-processing", "order.placed", 1, None)])
    found = steps.queued(("order-processing",), "o1", SINCE, traces, around())
    assert found == Finding(State.IN_FLIGHT, "order.placed in order-processing (attempt 1)")


def test_only_dead_letters_of_the_queue_and_the_subject_count() -> None:
    """One of another order in the same queue, or of this one in another queue, moves nothing."""
    letters = [replace(LETTER, queue="order-processing", subject="o2"), replace(LETTER, queue="order-mail")]
    found = steps.queued(("order-processing",), "o1", SINCE, Traces(letters=letters), around())
    assert found == Finding(State.LOST, "no message in order-processing")


def test_a_broker_that_could_not_be_read_is_said_of_the_queue() -> None:
    """The first of those that matter."""
    found = steps.queued(("a", "b"), "o1", SINCE, Traces(), around(unread={"broker": "away"}))
    assert found == Finding(State.OPEN, "a could not be read")
    assert steps.queued(("a", "b"), "o1", SINCE, Traces(), around()).what == "no message in a or b"


def test_a_payment_cannot_be_judged_without_its_books() -> None:
    """The provider's, and then the webhook store's."""
    traces = Traces(payments=[PAYMENT])
    expected = Finding(State.OPEN, "the payment provider could not be read")
    assert steps.payment(CONFIRMED, Traces(), around(unread={"payments": "away"})) == expected
    expected = Finding(State.OPEN, "the webhook store could not be read")
    assert steps.payment(CONFIRMED, traces, around(unread={"webhooks": "away"})) == expected


def test_a_payment_that_was_never_asked_for_is_lost() -> None:
    """And so is one whose webhooks had no effect, which are named."""
    assert steps.payment(replace(CONFIRMED, payment_id=""), Traces(), around()) == Finding(
        State.LOST, "the payment provider has no payment at all"
    )
    ignored = replace(WEBHOOK, id="w2", type="payment_intent.created", outcome="ignored")
    found = steps.payment(CONFIRMED, Traces(payments=[PAYMENT], webhooks=[WEBHOOK, ignored]), around())
    expected = (
        "payment pi_1 has succeeded, and payment_intent.succeeded was applied, payment_intent.created was ignored"
    )
    assert found == Finding(State.LOST, expected)


@pytest.mark.parametrize(
    ("book", "expected"),
    [
        ("payments", "the payment provider could not be read"),
        ("webhooks", "the webhook store could not be read"),
    ],
)
def test_undoing_is_not_lost_in_a_book_that_could_not_be_read(book: str, expected: str) -> None:
    """What would still undo the order may be there: so nothing is decided."""
    traces = Traces(reservations=a("reservations", state="held"), payments=[PAYMENT])
    assert steps.undoing(CANCELLED, SINCE, traces, around()).state is State.LOST
    assert steps.undoing(CANCELLED, SINCE, traces, around(unread={book: "away"})) == undecided(expected)


def test_refunds_that_could_not_be_read_to_their_end_are_not_compared() -> None:
    """A list of payments, or of refunds, that broke off is a provider that could not be read, and no difference."""
    half = settled(payments=a("payments", status="refunded", refunded=PAYMENT.amount), refunds=[])
    expected = ["the payment provider could not be read"]
    assert words(SOLD, half, unread={"payments": "away"}) == expected
    assert words(SOLD, settled(payments=[], refunds=[REFUND]), unread={"payments": "away"}) == expected


def test_undoing_waits_for_the_webhook_of_late_money() -> None:
    """With the queue that it is in."""
    traces = Traces(payments=[PAYMENT], webhooks=RECEIVED)
    found = steps.undoing(CANCELLED, SINCE, traces, around())
    expected = "webhook w1 (stripe payment_intent.succeeded) is failed after UPSTREAM_UNAVAILABLE: "
    assert found == Finding(State.LOST, f"{expected}no message in webhook-processing")


def test_strangers_webhooks_are_named_once() -> None:
    """However many the store has."""
    (found,) = stranger(Traces(webhooks=[WEBHOOK, replace(WEBHOOK, id="w2")]), around())
    assert found.what == "the orders service has no such order, but the webhook store has it on record"


def test_payloads_are_shown_whatever_they_hold() -> None:
    """A value that JSON does not have is shown as text."""
    assert comparison._json({"at": NOW, "a": 1}) == '{"a": 1, "at": "2026-03-01 12:00:00+00:00"}'


def test_stock_is_added_up_over_all_reservations() -> None:
    """By product and state, and what does not fit is said in figures."""
    promised = Promised()
    for state, pieces in (("held", 2), ("held", 3), ("shipped", 4), ("released", 9)):
        promised.add(Reservation("o1", state, {"42": pieces, "7": 1}))
    assert [promised.of("42", state) for state in ("held", "shipped", "released", "gone")] == [5, 4, 9, 0]
    assert list(judge_stock(Stock("42", 100, 91, 5, 4, 96), promised, settled=True)) == []
    assert [each.what for each in judge_stock(Stock("42", 100, 90, 6, 5, None), promised, settled=True)] == [
        "90 available + 6 reserved + 5 shipped is not the 100 that came in",
        "6 reserved and 5 shipped, but by its reservations 5 held and 4 shipped",
        "the ERP gave no figure of it",
    ]
