"""An order's life: its transitions, and the events they publish. Pure decisions.

pending ──► confirmed ──► paid ──► shipped
   │            │
   ├────────────┴──► rejected      no stock, refused by the ERP, not paid
   └────────────┴──► cancelled     by the customer
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from chassis.errors import Kind, ShopError, invalid

MAX_ITEMS = 50
MAX_QUANTITY = 1_000
# The payment reference of an order of 0.00: paid once confirmed, without a call to the payment provider.
NOTHING_TO_PAY = "nothing-to-pay"
# The reason of a pending order, for the customer to read.
DELAYED = "delayed: another system does not answer; the order stays accepted and is tried again until it does"


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
    """`version` counts its events; `payment_id` is the payment provider's reference once it is known.

    `refund_due` is the payment that was last reported as collected after the order had ended without a sale. `tried`: a
    first attempt to process it has failed, so it no longer waits for its turn.
    """

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
    refund_due: str = ""
    tried: bool = False


class OrderEvent:
    """One thing that happened to an order. Its fields are the payload of shop.events.v1 beside the order's ids."""

    __slots__ = ()
    type: ClassVar[str]


@dataclass(frozen=True, slots=True)
class OrderPlaced(OrderEvent):
    type = "order.placed"
    items: Sequence[Item]
    total: Decimal
    currency: str
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class OrderConfirmed(OrderEvent):
    type = "order.confirmed"
    total: Decimal
    currency: str
    payment_id: str


@dataclass(frozen=True, slots=True)
class OrderRejected(OrderEvent):
    type = "order.rejected"
    reason: str


@dataclass(frozen=True, slots=True)
class OrderPaid(OrderEvent):
    type = "order.paid"
    payment_id: str


@dataclass(frozen=True, slots=True)
class OrderShipped(OrderEvent):
    type = "order.shipped"
    shipment_number: str


@dataclass(frozen=True, slots=True)
class OrderCancelled(OrderEvent):
    type = "order.cancelled"
    reason: str


@dataclass(frozen=True, slots=True)
class OrderDelivered(OrderEvent):
    type = "order.delivered"
    carrier: str
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class OrderDelayed(OrderEvent):
    type = "order.delayed"
    reason: str


@dataclass(frozen=True, slots=True)
class OrderRefundDue(OrderEvent):
    type = "order.refund_due"
    payment_id: str


# The order after a decision, and its event: None if nothing changed or no other process needs to know.
Outcome = tuple[Order, OrderEvent | None]


def check_basket(basket: Sequence[tuple[str, int]]) -> None:
    """Raise INVALID_INPUT, naming each wrong item of a basket of (product id, quantity)."""
    if not 1 <= len(basket) <= MAX_ITEMS:
        raise invalid("order must have 1 to 50 items", items=f"must be 1 to {MAX_ITEMS} items")
    problems: dict[str, str] = {}
    for index, (product_id, quantity) in enumerate(basket):
        if not product_id or len(product_id) > 64:
            problems[f"items[{index}].product_id"] = "must have 1 to 64 characters"
        if not 1 <= quantity <= MAX_QUANTITY:
            problems[f"items[{index}].quantity"] = f"must be 1 to {MAX_QUANTITY}"
    if problems:
        raise invalid("the order cannot be accepted", **problems)


def fingerprint(basket: Sequence[tuple[str, int]]) -> str:
    """Fingerprint of a basket, compared under the same idempotency key."""
    return hashlib.sha256(json.dumps([list(line) for line in basket]).encode()).hexdigest()


def place(order: Order) -> tuple[Order, OrderPlaced]:
    """A new order begins its life."""
    return replace(order, version=1), OrderPlaced(order.items, order.total, order.currency, order.placed_at)


def confirm(order: Order, payment_id: str) -> Outcome:
    """The stock is reserved, the ERP has the order, the payment has been requested."""
    if order.status is not Status.PENDING:
        return order, None
    confirmed = OrderConfirmed(order.total, order.currency, payment_id)
    return _moved(replace(order, payment_id=payment_id), Status.CONFIRMED), confirmed


def delay(order: Order, now: datetime, *, after: timedelta) -> Outcome:
    """An attempt has failed. Emits OrderDelayed once, when the order has been pending for `after`."""
    if order.status is not Status.PENDING or order.status_reason:
        return order, None
    if now - order.placed_at < after:
        return (order if order.tried else replace(order, tried=True)), None
    delayed = replace(order, status_reason=DELAYED, tried=True, version=order.version + 1)
    return delayed, OrderDelayed(DELAYED)


def reject(order: Order, reason: str) -> Outcome:
    """The order cannot be fulfilled, or was not paid."""
    if order.status not in (Status.PENDING, Status.CONFIRMED):
        return order, None
    return _moved(order, Status.REJECTED, reason), OrderRejected(reason)


def mark_paid(order: Order, payment_id: str) -> Outcome:
    """The money has been collected; for an order that has ended without a sale it is to be given back.

    Raises ORDER_NOT_CONFIRMED while the order is still being processed: try again; WRONG_PAYMENT for a second payment.
    """
    if order.status is Status.PENDING:
        raise ShopError("ORDER_NOT_CONFIRMED", f"order {order.id} is not confirmed yet", Kind.PRECONDITION)
    if order.status.undone:
        if payment_id == order.refund_due:
            return order, None
        due = replace(order, refund_due=payment_id, version=order.version + 1)
        return due, OrderRefundDue(payment_id)
    if payment_id != order.payment_id:
        raise ShopError("WRONG_PAYMENT", f"order {order.id} has another payment", Kind.PRECONDITION)
    if order.status is not Status.CONFIRMED:
        return order, None
    return _moved(order, Status.PAID), OrderPaid(payment_id)


def fail_payment(order: Order, payment_id: str, reason: str) -> Outcome:
    """The money could not be collected. A paid order stays paid: webhooks can arrive out of order."""
    if order.status is Status.PENDING:
        raise ShopError("ORDER_NOT_CONFIRMED", f"order {order.id} is not confirmed yet", Kind.PRECONDITION)
    if order.status is Status.CONFIRMED and payment_id == order.payment_id:
        return reject(order, f"payment failed: {reason}" if reason else "payment failed")
    return order, None


def ship(order: Order, shipment_number: str) -> Outcome:
    """The ERP has created the shipment."""
    if order.status is not Status.PAID:
        return order, None
    return _moved(order, Status.SHIPPED), OrderShipped(shipment_number)


def deliver(order: Order, carrier: str, delivered_at: datetime) -> Outcome:
    """The carrier has handed the parcel over.

    Raises ORDER_NOT_SHIPPED (retry later) before shipment, ORDER_ENDED for a rejected or cancelled order.
    """
    if order.delivered:
        return order, None
    if order.status.undone:
        raise ShopError("ORDER_ENDED", f"order {order.id} is {order.status}: nothing is shipped", Kind.PRECONDITION)
    if order.status is not Status.SHIPPED:
        raise ShopError("ORDER_NOT_SHIPPED", f"order {order.id} has not been shipped", Kind.PRECONDITION)
    return replace(order, delivered=True, version=order.version + 1), OrderDelivered(carrier, delivered_at)


def cancel(order: Order) -> Outcome:
    """The customer withdraws. Raises TOO_LATE_TO_CANCEL once it is paid or has ended otherwise."""
    if order.status is Status.CANCELLED:
        return order, None
    if order.status not in (Status.PENDING, Status.CONFIRMED):
        raise ShopError(
            "TOO_LATE_TO_CANCEL", f"the order is {order.status} already", Kind.PRECONDITION, status=order.status
        )
    reason = "cancelled by the customer"
    return _moved(order, Status.CANCELLED, reason), OrderCancelled(reason)


def _moved(order: Order, status: Status, reason: str = "") -> Order:
    return replace(order, status=status, status_reason=reason, version=order.version + 1)


def key_reused() -> ShopError:
    return ShopError("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used for another order", Kind.PRECONDITION)
