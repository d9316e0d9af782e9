"""The legacy ERP's habits and our words, both ways. Pure functions; no I/O, no SOAP types but attribute access.

| ours                              | theirs                                                                      |
|-----------------------------------|-----------------------------------------------------------------------------|
| order id                          | `CustRef`, the customer's reference: 1-64 visible ASCII characters          |
| product id                        | `AltRef`, the cross-reference to their `ArtNo`: 1-64 visible ASCII characters |
| customer id                       | `CustNo`, as above                                                          |
| receipt id                        | `CustRef` of a goods receipt, as above                                      |
| quantity `12`, `-3`               | `000000012`, `000000003-`                                                   |
| amount `Decimal("49.00")`         | `000004900`, in cents                                                       |
| day                               | `20040201`                                                                  |
| time                              | `20040201` and `140500`, in UTC                                             |
| order open, shipped, cancelled    | `10`, `20`, `90`                                                            |
| shipment created, in_transit, delivered | `10`, `20`, `30`                                                      |
| unknown product: left out         | a stock line with the status `90`                                           |
| position in the list of orders    | `AfterNo`, an order number of ten digits; the start is all zeros            |
| an error with a stable code       | `ERR-…`; see `ERRORS`                                                       |

What cannot be written in their format raises INVALID_INPUT before anything is sent. An answer that breaks their
format raises `ValueError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from chassis.currency import from_minor
from chassis.errors import Kind, ShopError, invalid
from services.erp_adapter.domain import (
    GoodsReceipt,
    Item,
    NewSalesOrder,
    OrderState,
    SalesOrder,
    Shipment,
    ShipmentState,
    StockLevel,
    check_cents,
    check_order,
    check_quantity,
    check_reference,
)

ORDER_STATES = {"10": OrderState.OPEN, "20": OrderState.SHIPPED, "90": OrderState.CANCELLED}
SHIPMENT_STATES = {"10": ShipmentState.CREATED, "20": ShipmentState.IN_TRANSIT, "30": ShipmentState.DELIVERED}
ARTICLE_ACTIVE = "10"

SESSION_ENDED = "ERR-001"
ARTICLE_UNKNOWN = "ERR-042"

# Their code -> our code, our kind, our message, whether to try again after so many seconds.
ERRORS: Mapping[str, tuple[str, Kind, str, float | None]] = {
    SESSION_ENDED: ("ERP_LOGIN_REFUSED", Kind.UNAVAILABLE, "the ERP ends our sessions at once", 5.0),
    "ERR-002": ("ERP_LOGIN_REFUSED", Kind.UNAVAILABLE, "the ERP does not accept our login", 30.0),
    "ERR-010": ("ERP_INPUT_REFUSED", Kind.INVALID, "the ERP cannot read a field", None),
    "ERR-017": ("CREDIT_LIMIT_EXCEEDED", Kind.PRECONDITION, "the order is over the credit limit", None),
    ARTICLE_UNKNOWN: ("PRODUCT_UNKNOWN", Kind.PRECONDITION, "the ERP does not have the product", None),
    "ERR-044": ("NOT_FOUND", Kind.NOT_FOUND, "the ERP has no such order", None),
    "ERR-045": ("NOT_FOUND", Kind.NOT_FOUND, "the order has no shipment", None),
    "ERR-051": ("ORDER_CANCELLED", Kind.PRECONDITION, "the order has been cancelled", None),
    "ERR-052": ("ORDER_SHIPPED", Kind.PRECONDITION, "the order has been shipped", None),
    "ERR-053": ("REFERENCE_REUSED", Kind.PRECONDITION, "the ERP has this id for something else", None),
    "ERR-090": ("ERP_INPUT_REFUSED", Kind.INVALID, "the ERP cannot read the message", None),
    "ERR-900": ("ERP_MAINTENANCE", Kind.UNAVAILABLE, "the ERP is in its maintenance window", 10.0),
    "ERR-999": ("ERP_FAILED", Kind.UNAVAILABLE, "the ERP failed", 1.0),
}

S = TypeVar("S", OrderState, ShipmentState)

_NUMBER = re.compile(r"([0-9]{9})(-?)")
_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"[0-9]{6}")
_ORDER_NUMBER = re.compile(r"[0-9]{10}")


class ErpFault(Exception):
    """A SOAP fault: their code, their text, and what it is about (may be empty)."""

    def __init__(self, code: str, text: str, item: str = "") -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.item = item


def error_of(fault: ErpFault) -> ShopError:
    """Our error for their fault; one that is not in the table is theirs to explain, and worth another try."""
    code, kind, message, retry_after = ERRORS.get(fault.code, ERRORS["ERR-999"])
    about = f"{message}: {fault.item}" if fault.item else message
    return ShopError(code, about, kind, retry_after=retry_after)


# Ours to theirs


def to_quantity(quantity: int) -> str:
    """1-999,999,999 pieces."""
    return f"{check_quantity(quantity):09d}"


def to_signed_quantity(quantity: int) -> str:
    """A quantity of pieces with a trailing minus sign where negative."""
    return f"{check_quantity(abs(quantity)):09d}{'-' if quantity < 0 else ''}"


def to_cents(amount: Decimal, currency: str) -> str:
    """49.00 EUR, or 4900 JPY -> `000004900`: at most 999,999,999 of the currency's minor units."""
    return f"{check_cents(amount, currency):09d}"


def to_day(moment: datetime) -> str:
    """The day of a moment, in UTC."""
    return moment.astimezone(UTC).strftime("%Y%m%d")


def stock_request(product_ids: Sequence[str]) -> dict[str, Any]:
    """GetStockLevel."""
    return {"Articles": {"ArticleRef": [{"AltRef": check_reference("product_ids", each)} for each in product_ids]}}


def article_request(product_id: str) -> dict[str, Any]:
    """CreateArticle."""
    return {"AltRef": check_reference("product_id", product_id), "Text": f"PRODUCT {product_id}"}


def order_request(order: NewSalesOrder) -> dict[str, Any]:
    """CreateSalesOrder."""
    check_order(order)
    lines = [
        {
            "AltRef": check_reference("product_id", item.product_id),
            "Qty": to_quantity(item.quantity),
            "UnitPrc": to_cents(item.unit_price, order.currency),
        }
        for item in order.items
    ]
    return {
        "CustRef": check_reference("order_id", order.order_id),
        "CustNo": check_reference("customer_id", order.customer_id),
        "OrdDate": to_day(order.placed_at),
        "Curr": order.currency,
        "Lines": {"OrderLine": lines},
    }


def reference_request(order_id: str) -> dict[str, Any]:
    """CancelSalesOrder, CreateShipment and GetShipmentStatus."""
    return {"CustRef": check_reference("order_id", order_id)}


def receipt_request(receipt: GoodsReceipt) -> dict[str, Any]:
    """PostGoodsReceipt."""
    return {
        "CustRef": check_reference("receipt_id", receipt.receipt_id),
        "AltRef": check_reference("product_id", receipt.product_id),
        "Qty": to_signed_quantity(receipt.quantity),
        "RcptDate": to_day(receipt.received_at),
    }


def page_request(after: str, limit: int) -> dict[str, Any]:
    """ListSalesOrders."""
    number = after or "0" * 10
    if not _ORDER_NUMBER.fullmatch(number):
        raise invalid("invalid cursor", cursor="take it from next_cursor")
    return {"AfterNo": number, "MaxRows": to_quantity(limit)}


# Theirs to ours


def from_quantity(text: str) -> int:
    """`000000003-` -> -3."""
    match = _matched(_NUMBER, text)
    return -int(match[1]) if match[2] else int(match[1])


def from_cents(text: str, currency: str) -> Decimal:
    """`000004900` -> 49.00 EUR, or 4900 JPY."""
    return from_minor(from_quantity(text), currency)


def from_day(text: str) -> date:
    """`20040201` -> 1 February 2004."""
    _matched(_DATE, text)
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def from_time(day: str, clock: str) -> datetime:
    """`20040201`, `140500` -> 1 February 2004, 14:05 UTC."""
    _matched(_TIME, clock)
    on = from_day(day)
    return datetime(on.year, on.month, on.day, int(clock[:2]), int(clock[2:4]), int(clock[4:]), tzinfo=UTC)


def session_id(answer: Any) -> str:
    """LoginResult: what goes into the session header."""
    if not answer or not answer.SessionId:
        raise ValueError("the ERP has opened no session")
    return str(answer.SessionId)


def stock_levels(answer: Any) -> list[StockLevel]:
    """GetStockLevelResult."""
    return [
        StockLevel(line.AltRef, from_quantity(line.OnHand), from_time(line.AsOfDate, line.AsOfTime))
        for line in answer or []
        if line.Stat == ARTICLE_ACTIVE
    ]


def sales_order(answer: Any) -> SalesOrder:
    """An OrderHead."""
    _matched(_ORDER_NUMBER, answer.OrdNo)
    return SalesOrder(answer.CustRef, answer.OrdNo, _state(ORDER_STATES, answer.Stat), from_quantity(answer.Shipments))


def sales_orders(answer: Any) -> tuple[list[SalesOrder], str]:
    """ListSalesOrdersResult: the orders, and where the next page begins."""
    rows = answer.Orders.OrderRow if answer.Orders else []
    return [_whole_sales_order(row) for row in rows], answer.NextNo or ""


def _whole_sales_order(row: Any) -> SalesOrder:
    lines = row.Lines.OrderRecordLine if row.Lines else []
    numbers = row.ShpRefs.ShipmentRef if row.ShpRefs else []
    return replace(
        sales_order(row),
        customer_id=row.SoldTo or "",
        currency=row.Curr or "",
        items=[Item(line.AltRef, from_quantity(line.Qty), from_cents(line.UnitPrc, row.Curr or "")) for line in lines],
        shipment_numbers=[_matched(_ORDER_NUMBER, each.ShpNo)[0] for each in numbers],
    )


def shipment(answer: Any) -> Shipment:
    """A ShipmentHead."""
    return Shipment(answer.CustRef, answer.ShpNo, _state(SHIPMENT_STATES, answer.Stat), from_day(answer.ShpDate))


def _matched(pattern: re.Pattern[str], text: str | None) -> re.Match[str]:
    match = pattern.fullmatch(text or "")
    if match is None:
        raise ValueError(f"{text!r} is not in the ERP's format")
    return match


def _state(states: Mapping[str, S], code: str) -> S:
    if code not in states:
        raise ValueError(f"unknown status code {code!r}")
    return states[code]
