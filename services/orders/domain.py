"""An order's life: what may happen to it when, and what is told to the world. Pure decisions.

pending ──► confirmed ──► paid ──► shipped
   │            │
   ├────────────┴──► rejected      no stock, refused by the ERP, not paid
   └────────────┴──► cancelled     by the customer
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from chassis.errors import Kind, ShopError, invalid

MAX_ITEMS = 50
MAX_QUANTITY = 1_000


class Status(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    PAID = "paid"
    SHIPPED = "shipped"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def undone(self) -> bool:
        """The order has ended without a sale: whatever was done for it is to be undone."""
        return self in (Status.REJECTED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Item:
    product_id: str
    name: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """`version` counts its events; `payment_id` is the payment provider's reference once it is known."""

    id: str
    user_id: str
    status: Status
    status_reason: str
    items: Sequence[Item]
    total: Decimal
    currency: str
    placed_at: datetime
    version: int = 0
    payment_id: str = ""
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Happened:
    """One thing that happened to an order, by its event type; `facts` are the payload's fields beside the ids."""

    type: str
    facts: Mapping[str, object] = field(default_factory=dict)


# The order after a decision, and what happened; nothing when the decision changes nothing.
Outcome = tuple[Order, Happened | None]


def check_basket(basket: Sequence[tuple[str, int]]) -> None:
    """Raise INVALID_INPUT, naming each wrong item of a basket of (product id, quantity)."""
    if not 1 <= len(basket) <= MAX_ITEMS:
        raise invalid("an order has items", items=f"must be 1 to {MAX_ITEMS} items")
    problems: dict[str, str] = {}
    for index, (product_id, quantity) in enumerate(basket):
        if not product_id or len(product_id) > 64:
            problems[f"items[{index}].product_id"] = "must have 1 to 64 characters"
        if not 1 <= quantity <= MAX_QUANTITY:
            problems[f"items[{index}].quantity"] = f"must be 1 to {MAX_QUANTITY}"
    if problems:
        raise invalid("the order cannot be accepted", **problems)


def fingerprint(basket: Sequence[tuple[str, int]]) -> str:
    """What tells one basket from another under the same idempotency key."""
    return hashlib.sha256(json.dumps([list(line) for line in basket]).encode()).hexdigest()


def place(order: Order) -> tuple[Order, Happened]:
    """A new order begins its life."""
    facts = {
        "items": [
            {
                "product_id": item.product_id,
                "name": item.name,
                "quantity": item.quantity,
                "unit_price": str(item.unit_price),
            }
            for item in order.items
        ],
        "total": str(order.total),
        "currency": order.currency,
        "placed_at": order.placed_at.isoformat().replace("+00:00", "Z"),
    }
    return replace(order, version=1), Happened("order.placed", facts)


def confirm(order: Order, payment_id: str) -> Outcome:
    """The stock is reserved, the ERP knows the order, the payment has been asked for."""
    if order.status is not Status.PENDING:
        return order, None
    facts = {"total": str(order.total), "currency": order.currency, "payment_id": payment_id}
    return _moved(replace(order, payment_id=payment_id), Status.CONFIRMED), Happened("order.confirmed", facts)


def reject(order: Order, reason: str) -> Outcome:
    """The order cannot be fulfilled, or was not paid."""
    if order.status not in (Status.PENDING, Status.CONFIRMED):
        return order, None
    return _moved(order, Status.REJECTED, reason), Happened("order.rejected", {"reason": reason})


def mark_paid(order: Order, payment_id: str) -> Outcome:
    """The money has been collected. Raises ORDER_NOT_CONFIRMED while the order is still being processed: ask again."""
    if order.status is Status.PENDING:
        raise ShopError("ORDER_NOT_CONFIRMED", f"order {order.id} is not confirmed yet", Kind.PRECONDITION)
    if order.status is not Status.CONFIRMED:
        # Paid already; or ended meanwhile, and then its compensation refunds what was collected.
        return order, None
    if payment_id != order.payment_id:
        raise ShopError("WRONG_PAYMENT", f"order {order.id} waits for another payment", Kind.PRECONDITION)
    return _moved(order, Status.PAID), Happened("order.paid", {"payment_id": payment_id})


def fail_payment(order: Order, payment_id: str, reason: str) -> Outcome:
    """The money could not be collected. Of an order that is paid it changes nothing: webhooks come out of order."""
    if order.status is Status.PENDING:
        raise ShopError("ORDER_NOT_CONFIRMED", f"order {order.id} is not confirmed yet", Kind.PRECONDITION)
    if order.status is Status.CONFIRMED and payment_id == order.payment_id:
        return reject(order, f"payment failed: {reason}" if reason else "payment failed")
    return order, None


def ship(order: Order, shipment_number: str) -> Outcome:
    """The ERP has created the shipment."""
    if order.status is not Status.PAID:
        return order, None
    return _moved(order, Status.SHIPPED), Happened("order.shipped", {"shipment_number": shipment_number})


def deliver(order: Order, carrier: str, delivered_at: datetime) -> Outcome:
    """The carrier has handed the parcel over. Raises ORDER_NOT_SHIPPED while it has not left yet: ask again."""
    if order.delivered:
        return order, None
    if order.status is not Status.SHIPPED:
        raise ShopError("ORDER_NOT_SHIPPED", f"order {order.id} has not been shipped", Kind.PRECONDITION)
    facts = {"carrier": carrier, "delivered_at": delivered_at.isoformat().replace("+00:00", "Z")}
    return replace(order, delivered=True, version=order.version + 1), Happened("order.delivered", facts)


def cancel(order: Order) -> Outcome:
    """The customer withdraws. Raises TOO_LATE_TO_CANCEL once it is paid or has ended otherwise."""
    if order.status is Status.CANCELLED:
        return order, None
    if order.status not in (Status.PENDING, Status.CONFIRMED):
        raise ShopError(
            "TOO_LATE_TO_CANCEL", f"the order is {order.status} already", Kind.PRECONDITION, status=order.status
        )
    reason = "cancelled by the customer"
    return _moved(order, Status.CANCELLED, reason), Happened("order.cancelled", {"reason": reason})


def _moved(order: Order, status: Status, reason: str = "") -> Order:
    return replace(order, status=status, status_reason=reason, version=order.version + 1)


def key_reused() -> ShopError:
    return ShopError("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another order", Kind.PRECONDITION)
