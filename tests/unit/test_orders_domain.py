"""An order's transitions, and the events they publish."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Kind, ShopError
from services.orders import domain
from services.orders.demo import demo_orders
from services.orders.domain import Item, Order, OrderEvent, Outcome, Status
from services.orders.events import MESSAGES, payload

PLACED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NEW = Order(
    "o1", "u1", Status.PENDING, "", (Item("42", "Keyboard", 2, Decimal("89.00")),), Decimal("178.00"), "EUR", PLACED_AT
)
Decision = Callable[[Order], Outcome]

DECISIONS: dict[str, Decision] = {
    "confirm": lambda order: domain.confirm(order, "pi_1"),
    "delay": lambda order: domain.delay(order, PLACED_AT + MINUTE, after=MINUTE),
    "reject": lambda order: domain.reject(order, "no stock"),
    "mark_paid": lambda order: domain.mark_paid(order, "pi_1"),
    "fail_payment": lambda order: domain.fail_payment(order, "pi_1", "card declined"),
    "ship": lambda order: domain.ship(order, "S-1"),
    "deliver": lambda order: domain.deliver(order, "DHL", PLACED_AT),
    "cancel": domain.cancel,
}
UNCHANGED = "unchanged"
# decision -> what it does to an order in each status: the next status, nothing, or a refusal's code
TABLE = {
    "confirm": ("confirmed", *[UNCHANGED] * 5),
    "delay": ("pending", *[UNCHANGED] * 5),
    "reject": ("rejected", "rejected", *[UNCHANGED] * 4),
    "mark_paid": ("ORDER_NOT_CONFIRMED", "paid", UNCHANGED, UNCHANGED, "rejected", "cancelled"),
    "fail_payment": ("ORDER_NOT_CONFIRMED", "rejected", *[UNCHANGED] * 4),
    "ship": (UNCHANGED, UNCHANGED, "shipped", *[UNCHANGED] * 3),
    "deliver": (*["ORDER_NOT_SHIPPED"] * 3, "shipped", *["ORDER_ENDED"] * 2),
    "cancel": ("cancelled", "cancelled", *["TOO_LATE_TO_CANCEL"] * 3, UNCHANGED),
}
CASES = [
    (decision, status, outcome)
    for decision, outcomes in TABLE.items()
    for status, outcome in zip(Status, outcomes, strict=True)
]


def in_status(status: Status) -> Order:
    order, _ = domain.place(NEW)
    return replace(order, status=status, payment_id="" if status is Status.PENDING else "pi_1", version=3)


def outcome_of(decision: str, order: Order) -> str:
    try:
        after, happened = DECISIONS[decision](order)
    except ShopError as refusal:
        return refusal.code
    if happened is None:
        assert after == order
        return UNCHANGED
    assert after.version == order.version + 1
    return after.status


def lived(decisions: list[str]) -> tuple[Order, list[OrderEvent]]:
    """An order after these decisions, refused ones left out, and what happened to it."""
    order, placed = domain.place(NEW)
    history: list[OrderEvent | None] = [placed]
    for decision in decisions:
        try:
            order, happened = DECISIONS[decision](order)
        except ShopError:
            continue
        history.append(happened)
    return order, [happened for happened in history if happened is not None]


@pytest.mark.parametrize(("decision", "status", "outcome"), CASES)
def test_every_decision_in_every_status(decision: str, status: Status, outcome: str) -> None:
    """Each decision about an order in each status moves it on, changes nothing, or is refused, by the table."""
    assert outcome_of(decision, in_status(status)) == outcome


@given(st.lists(st.sampled_from(sorted(DECISIONS)), max_size=30))
def test_version_counts_the_events(decisions: list[str]) -> None:
    """Whatever is decided in whatever order, an order's version is the number of its events."""
    order, history = lived(decisions)
    assert order.version == len(history)


@given(st.lists(st.sampled_from(sorted(DECISIONS)), max_size=15), st.sampled_from(sorted(DECISIONS)))
def test_no_final_state_is_left(decisions: list[str], another: str) -> None:
    """An order that was shipped, rejected or cancelled stays so, with its reason, whatever is decided afterwards."""
    order, _ = lived(decisions)
    if order.status in (Status.SHIPPED, Status.REJECTED, Status.CANCELLED):
        after, _ = lived([*decisions, another])
        assert (after.status, after.status_reason) == (order.status, order.status_reason)


@given(st.lists(st.sampled_from(sorted(DECISIONS)), max_size=30))
def test_history_is_told_by_the_contract_and_each_step_once(decisions: list[str]) -> None:
    """Every event of every life can be written as the contract says, and no type comes twice."""
    order, history = lived(decisions)
    types = [happened.type for happened in history]
    assert len(set(types)) == len(types)
    for happened in history:
        told = payload(order, happened)
        message = Parse(told, MESSAGES[happened.type]())
        assert json.loads(MessageToJson(message, preserving_proto_field_name=True)) == json.loads(told)
        assert (message.order_id, message.user_id) == ("o1", "u1")  # type: ignore[attr-defined]


@pytest.mark.parametrize("decision", sorted(DECISIONS))
def test_repeated_decision_changes_nothing(decision: str) -> None:
    """Every decision that was taken may come again: messages are delivered at least once."""
    for status in Status:
        order = in_status(status)
        if outcome_of(decision, order) in set(Status):
            after, _ = DECISIONS[decision](order)
            assert outcome_of(decision, after) in (UNCHANGED, "TOO_LATE_TO_CANCEL")


def test_placed_event_tells_the_whole_order() -> None:
    """`order.placed` holds items, prices and the moment, so that no consumer has to call back."""
    order, happened = domain.place(NEW)
    assert happened is not None
    assert json.loads(payload(order, happened)) == {
        "order_id": "o1",
        "user_id": "u1",
        "items": [{"product_id": "42", "name": "Keyboard", "quantity": 2, "unit_price": "89.00"}],
        "total": "178.00",
        "currency": "EUR",
        "placed_at": "2026-03-01T12:00:00Z",
    }


@pytest.mark.parametrize("status", [Status.CONFIRMED, Status.PAID, Status.SHIPPED])
def test_payment_of_another_order_does_not_pay_this_one(status: Status) -> None:
    """A payment other than the requested one is refused, also by an order that is paid; its failure is no news."""
    confirmed = in_status(status)
    with pytest.raises(ShopError, match="WRONG_PAYMENT"):
        domain.mark_paid(confirmed, "pi_other")
    assert domain.fail_payment(confirmed, "pi_other", "declined") == (confirmed, None)


@pytest.mark.parametrize("status", [Status.REJECTED, Status.CANCELLED])
def test_money_for_an_order_that_has_ended_is_due_back(status: Status) -> None:
    """What is collected after an order's end leaves its status, and begins the refund, once for each payment."""
    ended, due = domain.mark_paid(in_status(status), "pi_late")
    assert due == domain.OrderRefundDue("pi_late")
    assert (ended.status, ended.refund_due, ended.payment_id) == (status, "pi_late", "pi_1")
    assert domain.mark_paid(ended, "pi_late") == (ended, None)
    assert domain.mark_paid(ended, "pi_later")[1] == domain.OrderRefundDue("pi_later")


def test_failed_payment_tells_why() -> None:
    """An order whose payment failed says so, with the provider's reason where there is one."""
    assert domain.fail_payment(in_status(Status.CONFIRMED), "pi_1", "no funds")[0].status_reason == (
        "payment failed: no funds"
    )
    assert domain.fail_payment(in_status(Status.CONFIRMED), "pi_1", "")[0].status_reason == "payment failed"


def test_customer_is_told_of_a_delay_once_and_not_too_early() -> None:
    """A pending order says that it is delayed after a minute, once; whatever comes next takes the reason away."""
    order, _ = domain.place(NEW)
    tried = replace(order, tried=True)
    for early in (order, tried):
        assert domain.delay(early, PLACED_AT + MINUTE / 2, after=MINUTE) == (tried, None)
    delayed, told = domain.delay(order, PLACED_AT + MINUTE, after=MINUTE)
    assert told == domain.OrderDelayed(delayed.status_reason)
    assert (delayed.status, delayed.status_reason[:7]) == (Status.PENDING, "delayed")
    assert domain.delay(delayed, PLACED_AT + 1440 * MINUTE, after=MINUTE) == (delayed, None)
    assert domain.confirm(delayed, "pi_1")[0].status_reason == ""
    assert domain.reject(delayed, "no stock")[0].status_reason == "no stock"


def test_wrong_basket_names_everything_wrong() -> None:
    """A basket is refused once, naming every wrong field of every item."""
    with pytest.raises(ShopError) as refusal:
        domain.check_basket([("42", 1), ("", 0), ("x" * 65, 1_001), ("42", -1)])
    assert refusal.value.code == "INVALID_INPUT"
    assert sorted(refusal.value.fields) == [
        "items[1].product_id", "items[1].quantity", "items[2].product_id", "items[2].quantity", "items[3].quantity",
    ]  # fmt: skip


@pytest.mark.parametrize("basket", [[], [("42", 1)] * 51])
def test_basket_has_bounds(basket: list[tuple[str, int]]) -> None:
    """An order has at least one item and at most fifty."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        domain.check_basket(basket)


def test_the_bounds_of_a_basket_belong_to_it() -> None:
    """One item and fifty, an id of 64 characters, a quantity of 1 and of the most: one more is refused."""
    most = domain.MAX_QUANTITY
    for basket in ([("42", 1)], [("42", most)], [("x" * 64, 1)], [("42", 1)] * domain.MAX_ITEMS):
        domain.check_basket(basket)
    for wrong in ([], [("42", most + 1)], [("x" * 65, 1)], [("42", 1)] * (domain.MAX_ITEMS + 1)):
        with pytest.raises(ShopError):
            domain.check_basket(wrong)


PAID = in_status(Status.PAID)
REFUSALS: list[tuple[Callable[[], object], str, str, Kind, dict[str, str], dict[str, str]]] = [
    (
        lambda: domain.check_basket([]),
        "INVALID_INPUT",
        "order must have 1 to 50 items",
        Kind.INVALID,
        {"items": "must be 1 to 50 items"},
        {},
    ),
    (
        lambda: domain.check_basket([("", 0)]),
        "INVALID_INPUT",
        "the order cannot be accepted",
        Kind.INVALID,
        {"items[0].product_id": "must have 1 to 64 characters", "items[0].quantity": "must be 1 to 1000"},
        {},
    ),
    (
        lambda: domain.mark_paid(NEW, "pi_1"),
        "ORDER_NOT_CONFIRMED",
        "order o1 is not confirmed yet",
        Kind.PRECONDITION,
        {},
        {},
    ),
    (
        lambda: domain.mark_paid(PAID, "pi_2"),
        "WRONG_PAYMENT",
        "order o1 has another payment",
        Kind.PRECONDITION,
        {},
        {},
    ),
    (
        lambda: domain.fail_payment(NEW, "pi_1", ""),
        "ORDER_NOT_CONFIRMED",
        "order o1 is not confirmed yet",
        Kind.PRECONDITION,
        {},
        {},
    ),
    (
        lambda: domain.deliver(in_status(Status.REJECTED), "DHL", PLACED_AT),
        "ORDER_ENDED",
        "order o1 is rejected: nothing is shipped",
        Kind.PRECONDITION,
        {},
        {},
    ),
    (
        lambda: domain.deliver(PAID, "DHL", PLACED_AT),
        "ORDER_NOT_SHIPPED",
        "order o1 has not been shipped",
        Kind.PRECONDITION,
        {},
        {},
    ),
    (
        lambda: domain.cancel(PAID),
        "TOO_LATE_TO_CANCEL",
        "the order is paid already",
        Kind.PRECONDITION,
        {},
        {"status": "paid"},
    ),
    (
        lambda: raised(domain.key_reused()),
        "IDEMPOTENCY_KEY_REUSED",
        "this Idempotency-Key was used for another order",
        Kind.PRECONDITION,
        {},
        {},
    ),
]


def raised(error: ShopError) -> None:
    raise error


@pytest.mark.parametrize(("refused", "code", "message", "kind", "fields", "details"), REFUSALS)
def test_a_refusal_says_what_and_why(
    refused: Callable[[], object], code: str, message: str, kind: Kind, fields: dict[str, str], details: dict[str, str]
) -> None:
    """Its code, its kind, its words, the fields that are wrong: all of it reaches the client."""
    with pytest.raises(ShopError) as refusal:
        refused()
    error = refusal.value
    assert (error.code, error.message, error.kind) == (code, message, kind)
    assert (error.fields, error.details) == (fields, details)


def test_what_happened_is_in_the_event() -> None:
    """The shipment, the carrier and the time, and why it was cancelled."""
    assert domain.ship(PAID, "S-1")[1] == domain.OrderShipped("S-1")
    delivered = domain.deliver(in_status(Status.SHIPPED), "DHL", PLACED_AT)
    assert delivered[1] == domain.OrderDelivered("DHL", PLACED_AT)
    order, event = domain.cancel(NEW)
    assert event == domain.OrderCancelled("cancelled by the customer")
    assert order.status_reason == "cancelled by the customer"


def test_fingerprint_tells_baskets_apart() -> None:
    """Under one idempotency key, another product, quantity or sequence is another order."""
    baskets = [[("1", 1)], [("1", 2)], [("2", 1)], [("1", 1), ("2", 1)], [("2", 1), ("1", 1)], [("11", 1)]]
    assert len({domain.fingerprint(basket) for basket in baskets}) == len(baskets)
    assert domain.fingerprint([("1", 1)]) == domain.fingerprint((("1", 1),))


def test_demo_orders_lived_by_the_rules() -> None:
    """The demo orders cover every status, and each has the history that leads there."""
    found = {order.status: [happened.type for _, happened in history] for order, history in demo_orders()}
    assert set(found) == set(Status)
    assert all(types[0] == "order.placed" for types in found.values())
    assert all(status is Status.PENDING or types[-1] == f"order.{status}" for status, types in found.items())
