"""Payments as the provider sees them. No framework, no database, no wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chassis.currency import is_currency

MAX_AMOUNT = 99_999_999
_MAX_DIGITS = 12
MAX_ORDER_ID = 255
# The amount of a refund that names none. An empty one, or JSON's null, is no amount and does not stand for all.
ALL_LEFT = object()
# Like Stripe's test cards, but by the amount's last two digits, which a workshop can choose at the till.
DECLINED = 2
FAILS_LATER = 3
DECLINE_MESSAGE = "Your card was declined."


class Refused(Exception):
    """A request that is not granted: an HTTP status and Stripe's error fields."""

    def __init__(self, status: int, error_type: str, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.fields = {"type": error_type, "code": code, "message": message, **({"param": param} if param else {})}


class Status(StrEnum):
    """`payment_intent.status`, by Stripe's names where it has one."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class PaymentIntent:
    """`amount` and `refunded` are in the currency's minor units; `created` and `due` are Unix seconds."""

    id: str
    amount: int
    currency: str
    order_id: str
    status: Status
    created: float
    due: float
    traceparent: str
    refunded: int = 0


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that was given back, the whole payment or a part; `amount` is in the currency's minor units."""

    id: str
    payment_intent: str
    amount: int
    currency: str
    order_id: str
    created: float


def check_request(amount: object, currency: object, order_id: object) -> tuple[int, str, str]:
    """The request's values. Raises `Refused`, naming the parameter."""
    text = str(amount)
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 0 < int(text) <= MAX_AMOUNT):
        raise invalid_parameter("amount", f"a whole number of minor units from 1 to {MAX_AMOUNT}")
    if not (isinstance(currency, str) and currency.isascii() and is_currency(currency.upper())):
        raise invalid_parameter("currency", "a three-letter ISO 4217 code")
    if not isinstance(order_id, str) or len(order_id) > MAX_ORDER_ID:
        raise invalid_parameter("metadata[order_id]", f"a text of at most {MAX_ORDER_ID} characters")
    return int(text), currency.lower(), order_id


def check_refund(payment_intent: object, amount: object) -> tuple[str, int | None]:
    """A refund's payment and amount; None for all that is left, given as `ALL_LEFT`.

    Raises `Refused`, naming the parameter.
    """
    if not (isinstance(payment_intent, str) and payment_intent):
        raise invalid_parameter("payment_intent", "the id of a payment")
    if amount is ALL_LEFT:
        return payment_intent, None
    text = str(amount)
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 0 < int(text) <= MAX_AMOUNT):
        raise invalid_parameter("amount", f"a whole number of minor units from 1 to {MAX_AMOUNT}")
    return payment_intent, int(text)


def refund(intent: PaymentIntent, amount: int | None) -> tuple[PaymentIntent, int]:
    """The intent after `amount` (None: all that is left) was given back, and how much that was.

    Raises `Refused` when less is left, or when nothing was ever collected.
    """
    if intent.status is Status.REFUNDED:
        raise Refused(400, "invalid_request_error", "charge_already_refunded", "This payment has been refunded.")
    if intent.status is not Status.SUCCEEDED:
        raise unexpected_state(intent)
    left = intent.amount - intent.refunded
    given = left if amount is None else amount
    if given > left:
        raise invalid_parameter("amount", f"at most {left}, which is what is left of the payment")
    status = Status.REFUNDED if given == left else Status.SUCCEEDED
    return replace(intent, refunded=intent.refunded + given, status=status), given


def check_card(amount: int) -> None:
    """Raise `Refused` for an amount that the card's bank refuses at once."""
    if amount % 100 == DECLINED:
        raise Refused(402, "card_error", "card_declined", DECLINE_MESSAGE)


def collected(intent: PaymentIntent) -> PaymentIntent:
    """The intent after its collection."""
    failed = intent.amount % 100 == FAILS_LATER
    return replace(intent, status=Status.FAILED if failed else Status.SUCCEEDED)


def paid(intent: PaymentIntent) -> PaymentIntent:
    """The intent after the customer has paid by other means."""
    if intent.status in {Status.CANCELED, Status.REFUNDED}:
        raise unexpected_state(intent)
    return replace(intent, status=Status.SUCCEEDED)


def failed(intent: PaymentIntent) -> PaymentIntent:
    """The intent after the money could not be collected."""
    if intent.status not in {Status.PROCESSING, Status.FAILED}:
        raise unexpected_state(intent)
    return replace(intent, status=Status.FAILED)


def withdrawn(intent: PaymentIntent) -> PaymentIntent:
    """The intent after the shop has taken it back: it is never collected. Raises `Refused` once it has been."""
    if intent.status in {Status.SUCCEEDED, Status.REFUNDED}:
        raise unexpected_state(intent)
    return replace(intent, status=Status.CANCELED)


def event_for(before: PaymentIntent, after: PaymentIntent) -> str:
    """The event type of a change; empty when there is no webhook for it."""
    if after.refunded > before.refunded:
        return "charge.refunded"
    if before.status is after.status:
        return ""
    types = {Status.SUCCEEDED: "payment_intent.succeeded", Status.FAILED: "payment_intent.payment_failed"}
    return types.get(after.status, "")


def as_json(intent: PaymentIntent) -> dict[str, Any]:
    """The intent as answers and events show it."""
    shown: dict[str, Any] = {
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_refunded": intent.refunded,
        "currency": intent.currency,
        "status": intent.status.value,
        "created": int(intent.created),
        "livemode": False,
        "metadata": {"order_id": intent.order_id},
    }
    if intent.status is Status.FAILED:
        shown["last_payment_error"] = {"code": "card_declined", "message": DECLINE_MESSAGE}
    return shown


def refund_as_json(refund: Refund) -> dict[str, Any]:
    """The refund as answers show it."""
    return {
        "id": refund.id,
        "object": "refund",
        "payment_intent": refund.payment_intent,
        "amount": refund.amount,
        "currency": refund.currency,
        "status": "succeeded",
        "created": int(refund.created),
        "metadata": {"order_id": refund.order_id},
    }


def charge_as_json(intent: PaymentIntent) -> dict[str, Any]:
    """The charge of an intent, as in `charge.refunded`."""
    return {
        "id": intent.id.replace("pi_", "ch_", 1),
        "object": "charge",
        "payment_intent": intent.id,
        "amount": intent.amount,
        "amount_refunded": intent.refunded,
        "refunded": intent.status is Status.REFUNDED,
        "currency": intent.currency,
        "livemode": False,
        "metadata": {"order_id": intent.order_id},
    }


def order_closed(order_id: str) -> Refused:
    message = f"The payments of order {order_id} were cancelled: it can be paid no more."
    return Refused(409, "invalid_request_error", "order_closed", message)


def unexpected_state(intent: PaymentIntent) -> Refused:
    message = f"This PaymentIntent cannot do that: it is {intent.status}."
    return Refused(400, "invalid_request_error", "payment_intent_unexpected_state", message)


def unknown(intent_id: str) -> Refused:
    return Refused(404, "invalid_request_error", "resource_missing", f"No such payment_intent: '{intent_id}'")


def unknown_place(row_id: str) -> Refused:
    """A list cannot go on behind a row that it does not have."""
    return Refused(400, "invalid_request_error", "resource_missing", f"No such object: '{row_id}'", "starting_after")


def key_reused() -> Refused:
    message = "Keys for idempotent requests can only be used with the same parameters."
    return Refused(400, "idempotency_error", "idempotency_key_in_use", message)


def invalid_parameter(parameter: str, must_be: str) -> Refused:
    message = f"{parameter} must be {must_be}."
    return Refused(400, "invalid_request_error", "parameter_invalid", message, parameter)
