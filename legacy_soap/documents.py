"""The ERP's documents, its status codes and its faults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

OPEN, SHIPPED, CANCELLED = "10", "20", "90"
SHIPMENT_CREATED, IN_TRANSIT, DELIVERED = "10", "20", "30"
ACTIVE, UNKNOWN = "10", "90"


class Refusal(Exception):
    """A refusal of the ERP; `code` is one of the package docstring's fault codes."""

    def __init__(self, code: str, text: str, item: str = "") -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.item = item


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order; the article is named by its number or by the cross-reference."""

    quantity: int
    unit_cents: int
    article_no: str = ""
    alt_ref: str = ""


@dataclass(frozen=True, slots=True)
class Stock:
    """An article's book stock; `status` is `UNKNOWN` where the master has no such article."""

    article_no: str
    alt_ref: str
    on_hand: int
    status: str


@dataclass(frozen=True, slots=True)
class Order:
    """A sales order's header."""

    number: str
    cust_ref: str
    status: str
    shipments: int = 0


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """A whole sales order as the list shows it; without customer, currency and lines if it arrived cancelled."""

    head: Order
    cust_no: str
    currency: str
    lines: tuple[Line, ...]
    shipments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shipment:
    """A shipment of a whole order."""

    number: str
    cust_ref: str
    status: str
    ships_on: date


@dataclass(frozen=True, slots=True)
class Receipt:
    """Goods booked in, or out when `quantity` is below zero."""

    number: str
    cust_ref: str
    alt_ref: str
    quantity: int
