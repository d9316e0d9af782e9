"""The payment provider's decisions: what is taken, given back, collected, and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from partners.payment_provider import domain
from partners.payment_provider.domain import PaymentIntent, Refund, Refused, Status

INTENT = PaymentIntent("pi_1", 1_050, "eur", "o1", Status.PROCESSING, 1_000.9, 1_002.0, "00-tp")
ANY = "a whole number of minor units from 1 to 99999999"


def told(refused: Refused) -> tuple[int, dict[str, str]]:
    assert str(refused) == refused.fields["message"]
    return refused.status, refused.fields


def wrong_parameter(name: str, must_be: str) -> tuple[int, dict[str, str]]:
    """The refusal of a parameter, by Stripe's names."""
    message = f"{name} must be {must_be}."
    return 400, {
        "type": "invalid_request_error",
        "code": "parameter_invalid",
        "message": message,
        "param": name,
    }


def wrong_state(status: str) -> tuple[int, dict[str, str]]:
    message = f"This PaymentIntent cannot do that: it is {status}."
    return 400, {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": message}


@pytest.mark.parametrize("amount", [1, "1", 99_999_999, "000000000001"])
def test_amounts_that_are_taken(amount: object) -> None:
    """Whole minor units, as a number or as text; the currency is kept in small letters."""
    assert domain.check_request(amount, "EUR", "o1") == (int(str(amount)), "eur", "o1")
    assert domain.check_refund("pi_1", amount) == ("pi_1", int(str(amount)))


@pytest.mark.parametrize("amount", [0, -1, 1.5, None, "", "x", "²", "٣", 100_000_000, "0" * 13, "0000000000001", True])
def test_amounts_that_are_refused(amount: object) -> None:
    """None, less, parts, no digits of ASCII, too much, or too many digits."""
    for ask in (lambda: domain.check_request(amount, "eur", "o1"), lambda: domain.check_refund("pi_1", amount)):
        with pytest.raises(Refused) as refused:
            ask()
        assert told(refused.value) == wrong_parameter("amount", ANY)


@pytest.mark.parametrize("currency", [None, 7, "", "euro", "xxx", "ﬃ"])
def test_currencies_that_are_refused(currency: object) -> None:
    """What is in no list of currencies."""
    with pytest.raises(Refused) as refused:
        domain.check_request(1, currency, "o1")
    assert told(refused.value) == wrong_parameter("currency", "a three-letter ISO 4217 code")


def test_an_order_id_has_at_most_255_characters() -> None:
    """It is text, and may be empty."""
    for order_id in ("", "o" * 255):
        assert domain.check_request(1, "eur", order_id) == (1, "eur", order_id)
    for wrong in ("o" * 256, None, 7):
        with pytest.raises(Refused) as refused:
            domain.check_request(1, "eur", wrong)
        assert told(refused.value) == wrong_parameter("metadata[order_id]", "a text of at most 255 characters")


def test_a_refund_names_its_payment() -> None:
    """And means all that is left where it names no amount."""
    assert domain.check_refund("pi_1", domain.ALL_LEFT) == ("pi_1", None)
    for wrong in ("", None, 7):
        with pytest.raises(Refused) as refused:
            domain.check_refund(wrong, 1)
        assert told(refused.value) == wrong_parameter("payment_intent", "the id of a payment")


@pytest.mark.parametrize(
    ("before", "amount", "given", "after", "status"),
    [
        (0, None, 1_050, 1_050, Status.REFUNDED),
        (0, 1_050, 1_050, 1_050, Status.REFUNDED),
        (0, 1_049, 1_049, 1_049, Status.SUCCEEDED),
        (50, None, 1_000, 1_050, Status.REFUNDED),
        (50, 1, 1, 51, Status.SUCCEEDED),
    ],
)
def test_money_is_given_back(before: int, amount: int | None, given: int, after: int, status: Status) -> None:
    """All that is left or a part; the payment is refunded once nothing is left."""
    paid = replace(INTENT, status=Status.SUCCEEDED, refunded=before)
    assert domain.refund(paid, amount) == (replace(paid, refunded=after, status=status), given)


def test_no_more_is_given_back_than_is_left() -> None:
    """The refusal says how much that is."""
    with pytest.raises(Refused) as refused:
        domain.refund(replace(INTENT, status=Status.SUCCEEDED, refunded=50), 1_001)
    assert told(refused.value) == wrong_parameter("amount", "at most 1000, which is what is left of the payment")


def test_a_refunded_payment_is_not_given_back_again() -> None:
    """With the code by which clients recognize that."""
    with pytest.raises(Refused) as refused:
        domain.refund(replace(INTENT, status=Status.REFUNDED, refunded=1_050), None)
    fields = {"type": "invalid_request_error", "code": "charge_already_refunded"}
    assert told(refused.value) == (400, {**fields, "message": "This payment has been refunded."})


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.FAILED, Status.CANCELED])
def test_what_was_never_collected_is_not_given_back(status: Status) -> None:
    """The refusal names the state."""
    with pytest.raises(Refused) as refused:
        domain.refund(replace(INTENT, status=status), None)
    assert told(refused.value) == wrong_state(status.value)


@pytest.mark.parametrize("amount", [2, 102, 100_002])
def test_a_card_is_declined_by_the_amount(amount: int) -> None:
    """Two minor units at its end are refused at once."""
    with pytest.raises(Refused) as refused:
        domain.check_card(amount)
    fields = {"type": "card_error", "code": "card_declined", "message": "Your card was declined."}
    assert told(refused.value) == (402, fields)


@pytest.mark.parametrize(
    ("amount", "status"),
    [(1_050, Status.SUCCEEDED), (103, Status.FAILED), (3, Status.FAILED), (300, Status.SUCCEEDED)],
)
def test_a_payment_is_collected_or_fails_by_the_amount(amount: int, status: Status) -> None:
    """Three minor units at its end fail later; neither is refused at once."""
    domain.check_card(amount)
    intent = replace(INTENT, amount=amount)
    assert domain.collected(intent) == replace(intent, status=status)


@pytest.mark.parametrize(
    ("change", "result", "allowed"),
    [
        (domain.paid, Status.SUCCEEDED, {Status.PROCESSING, Status.SUCCEEDED, Status.FAILED}),
        (domain.failed, Status.FAILED, {Status.PROCESSING, Status.FAILED}),
        (domain.withdrawn, Status.CANCELED, {Status.PROCESSING, Status.FAILED, Status.CANCELED}),
    ],
)
def test_changes_start_from_some_states(
    change: Callable[[PaymentIntent], PaymentIntent], result: Status, allowed: set[Status]
) -> None:
    """From every other one they are refused, naming it."""
    for status in Status:
        intent = replace(INTENT, status=status)
        if status in allowed:
            assert change(intent) == replace(intent, status=result)
            continue
        with pytest.raises(Refused) as refused:
            change(intent)
        assert told(refused.value) == wrong_state(status.value)


def test_events_that_are_told() -> None:
    """Success, failure and money given back; other changes have no webhook."""
    succeeded = replace(INTENT, status=Status.SUCCEEDED)
    assert domain.event_for(INTENT, succeeded) == "payment_intent.succeeded"
    assert domain.event_for(INTENT, replace(INTENT, status=Status.FAILED)) == "payment_intent.payment_failed"
    assert domain.event_for(INTENT, replace(INTENT, status=Status.CANCELED)) == ""
    assert domain.event_for(succeeded, succeeded) == ""
    part = replace(succeeded, refunded=1)
    assert domain.event_for(succeeded, part) == "charge.refunded"
    assert domain.event_for(part, replace(part, refunded=1_050, status=Status.REFUNDED)) == "charge.refunded"
    assert domain.event_for(part, part) == ""


def test_an_intent_is_shown_as_stripe_does() -> None:
    """With its error where it has failed; times are whole seconds."""
    shown = {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 1_050,
        "amount_refunded": 0,
        "currency": "eur",
        "status": "processing",
        "created": 1_000,
        "livemode": False,
        "metadata": {"order_id": "o1"},
    }
    assert domain.as_json(INTENT) == shown
    error = {"code": "card_declined", "message": "Your card was declined."}
    failed = {**shown, "status": "failed", "last_payment_error": error}
    assert domain.as_json(replace(INTENT, status=Status.FAILED)) == failed


def test_a_refund_and_a_charge_are_shown_as_stripe_does() -> None:
    """A charge has the payment's id with its own prefix, and says whether all of it was given back."""
    assert domain.refund_as_json(Refund("re_1", "pi_1", 50, "eur", "o1", 1_000.9)) == {
        "id": "re_1",
        "object": "refund",
        "payment_intent": "pi_1",
        "amount": 50,
        "currency": "eur",
        "status": "succeeded",
        "created": 1_000,
        "metadata": {"order_id": "o1"},
    }
    charge = {
        "id": "ch_pi_1",
        "object": "charge",
        "payment_intent": "pi_pi_1",
        "amount": 1_050,
        "amount_refunded": 50,
        "refunded": False,
        "currency": "eur",
        "livemode": False,
        "metadata": {"order_id": "o1"},
    }
    part = replace(INTENT, id="pi_pi_1", status=Status.SUCCEEDED, refunded=50)
    assert domain.charge_as_json(part) == charge
    whole = replace(part, status=Status.REFUNDED, refunded=1_050)
    assert domain.charge_as_json(whole) == {**charge, "amount_refunded": 1_050, "refunded": True}


def test_other_refusals_have_stripes_fields() -> None:
    """A closed order, an unknown payment or place, and a key that came with another request."""
    kind = {"type": "invalid_request_error"}
    message = "The payments of order o1 were cancelled: it can be paid no more."
    assert told(domain.order_closed("o1")) == (409, {**kind, "code": "order_closed", "message": message})
    missing = {**kind, "code": "resource_missing"}
    assert told(domain.unknown("pi_9")) == (404, {**missing, "message": "No such payment_intent: 'pi_9'"})
    message = "No such object: 're_9'"
    assert told(domain.unknown_place("re_9")) == (400, {**missing, "message": message, "param": "starting_after"})
    message = "Keys for idempotent requests can only be used with the same parameters."
    reused = {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": message}
    assert told(domain.key_reused()) == (400, reused)
