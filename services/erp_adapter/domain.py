"""The domain model of an ERP, independent of the product."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from chassis.currency import from_minor, is_currency, to_minor
from chassis.errors import invalid

# What any ERP behind the port can take: as much as the oldest one can.
MAX_PIECES = 999_999_999
MAX_CENTS = 999_999_999
TIME_IN_TRANSIT = timedelta(days=2)

_REFERENCE = re.compile(r"[!-~]{1,64}")


class OrderState(StrEnum):
    OPEN = "open"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


class ShipmentState(StrEnum):
    CREATED = "created"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class StockLevel:
    """Pieces in the warehouse; below zero when more has left than was booked in."""

    product_id: str
    on_hand: int
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Item:
    product_id: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class NewSalesOrder:
    """An order to be registered; `order_id` is ours, and registering it twice registers it once."""

    order_id: str
    customer_id: str
    items: Sequence[Item]
    currency: str
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class GoodsReceipt:
    """Goods that arrived, or were lost (`quantity` below zero); booking one twice books it once."""

    receipt_id: str
    product_id: str
    quantity: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SalesOrder:
    """An order as the ERP holds it; without customer, currency and items if it was cancelled before its arrival."""

    order_id: str
    number: str
    state: OrderState
    shipments: int
    customer_id: str = ""
    currency: str = ""
    items: Sequence[Item] = ()
    shipment_numbers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shipment:
    order_id: str
    number: str
    state: ShipmentState
    ships_on: date


def check_reference(name: str, identifier: str) -> str:
    """One of our ids, if an ERP can take it. Raises INVALID_INPUT that blames the field `name`."""
    if not _REFERENCE.fullmatch(identifier):
        raise invalid(f"the ERP cannot take {identifier[:64]!r}", **{name: "must be 1-64 visible ASCII characters"})
    return identifier


def check_quantity(quantity: int) -> int:
    """1-999,999,999 pieces, else INVALID_INPUT."""
    if not 1 <= quantity <= MAX_PIECES:
        raise invalid(f"the ERP cannot take {quantity} pieces", quantity=f"must be 1 to {MAX_PIECES}")
    return quantity


def check_cents(amount: Decimal, currency: str) -> int:
    """An amount in the currency's minor units, at most 999,999,999 of them, else INVALID_INPUT: nothing is rounded."""
    try:
        cents = to_minor(amount, currency)
    except ValueError:
        cents = -1
    if not 0 <= cents <= MAX_CENTS:
        why = f"must be 0 to {from_minor(MAX_CENTS, currency)}, with no more decimal places"
        raise invalid(f"the ERP cannot take the amount {amount} {currency}", unit_price=why)
    return cents


def check_order(order: NewSalesOrder) -> None:
    """Raise INVALID_INPUT unless the order has lines and a currency; its fields are checked one by one."""
    if not order.items:
        raise invalid("order must have items", items="must not be empty")
    if not is_currency(order.currency):
        raise invalid("unknown currency", currency="must be an ISO 4217 code")


def shipment_state(ships_on: date, today: date) -> ShipmentState:
    """Status of a shipment on a day: it leaves on `ships_on` and is on its way for two days."""
    if today < ships_on:
        return ShipmentState.CREATED
    return ShipmentState.IN_TRANSIT if today < ships_on + TIME_IN_TRANSIT else ShipmentState.DELIVERED
