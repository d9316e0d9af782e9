"""Payments as the provider sees them. No framework, no database, no wire."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

MAX_AMOUNT = 99_999_999
MAX_ORDER_ID = 255
# Like Stripe's test cards, but by the amount's last two digits, which a workshop can choose at the till.
DECLINED = 2
FAILS_LATER = 3
DECLINE_MESSAGE = "Your card was declined."

_CURRENCY = re.compile(r"[a-z]{3}")


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
    """`amount` is in the currency's minor units; `created` and `due` are Unix seconds."""

    id: str
    amount: int
    currency: str
    order_id: str
    status: Status
    created: float
    due: float
    traceparent: str


def check_request(amount: object, currency: object, order_id: object) -> tuple[int, str, str]:
    """The request's values. Raises `Refused`, naming the parameter."""
    text = str(amount)
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) <= MAX_AMOUNT):
        raise invalid_parameter("amount", f"a whole number of minor units from 1 to {MAX_AMOUNT}")
    if not (isinstance(currency, str) and _CURRENCY.fullmatch(currency.lower())):
        raise invalid_parameter("currency", "a three-letter ISO 4217 code")
    if not isinstance(order_id, str) or len(order_id) > MAX_ORDER_ID:
        raise invalid_parameter("metadata[order_id]", f"a text of at most {MAX_ORDER_ID} characters")
    return int(text), currency.lower(), order_id


def check_card(amount: int) -> None:
    """Raise `Refused` for an amount that the card's bank refuses at once."""
    if amount % 100 == DECLINED:
        raise Refused(402, "card_error", "card_declined", DECLINE_MESSAGE)


def collected(intent: PaymentIntent) -> PaymentIntent:
    """The intent once its time has come."""
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
    """The intent after the shop has taken it back: never collected, or given back."""
    after = {Status.PROCESSING: Status.CANCELED, Status.FAILED: Status.CANCELED, Status.SUCCEEDED: Status.REFUNDED}
    return replace(intent, status=after.get(intent.status, intent.status))


def event_for(before: Status, after: Status) -> str:
    """The type of the event that tells of a change; empty when the shop is not told."""
    if before is after:
        return ""
    return {Status.SUCCEEDED: "payment_intent.succeeded", Status.FAILED: "payment_intent.payment_failed"}.get(after, "")


def as_json(intent: PaymentIntent) -> dict[str, Any]:
    """The intent as answers and events show it."""
    shown: dict[str, Any] = {
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "currency": intent.currency,
        "status": intent.status.value,
        "created": int(intent.created),
        "livemode": False,
        "metadata": {"order_id": intent.order_id},
    }
    if intent.status is Status.FAILED:
        shown["last_payment_error"] = {"code": "card_declined", "message": DECLINE_MESSAGE}
    return shown


def unexpected_state(intent: PaymentIntent) -> Refused:
    message = f"This PaymentIntent cannot do that: it is {intent.status}."
    return Refused(400, "invalid_request_error", "payment_intent_unexpected_state", message)


def unknown(intent_id: str) -> Refused:
    return Refused(404, "invalid_request_error", "resource_missing", f"No such payment_intent: '{intent_id}'")


def key_reused() -> Refused:
    message = "Keys for idempotent requests can only be used with the same parameters."
    return Refused(400, "idempotency_error", "idempotency_key_in_use", message)


def invalid_parameter(parameter: str, must_be: str) -> Refused:
    message = f"{parameter} must be {must_be}."
    return Refused(400, "invalid_request_error", "parameter_invalid", message, parameter)
