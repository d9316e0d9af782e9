"""An order's invoice: what is on it, and the file that it becomes. No framework, no wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from services.storage.invoices.pdf import Row, Text, document

PDF = "application/pdf"

_LEFT, _QUANTITY, _PRICE, _SUM = 56, 380, 460, 539
_MAX_NAME = 52


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    name: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """The invoice of a paid order. `user_id` owns the file."""

    order_id: str
    user_id: str
    customer: str
    lines: Sequence[InvoiceLine]
    total: Decimal
    currency: str
    placed_at: datetime
    paid_at: datetime
    payment_id: str


def file_id(order_id: str) -> str:
    """Under which id the invoice of an order is stored."""
    return f"invoice-{order_id}"


def render(invoice: Invoice) -> bytes:
    """The invoice as PDF; the same invoice always makes the same bytes."""
    facts = [
        ("Invoice for order", invoice.order_id),
        ("Customer", invoice.customer),
        ("Ordered on", _day(invoice.placed_at)),
        ("Paid on", f"{_day(invoice.paid_at)}, payment {invoice.payment_id}"),
    ]
    rows = [
        Row([Text(_LEFT, "Polyglot Shop", 20, bold=True)], 24),
        Row([Text(_LEFT, "Invoice", 14, bold=True)], 40),
        *(Row([Text(_LEFT, name), Text(_LEFT + 110, value)]) for name, value in facts),
        Row([], 16),
        _line("Product", "Quantity", "Price", f"Sum in {invoice.currency}", bold=True, rule=True),
        *(
            _line(line.name, str(line.quantity), f"{line.unit_price:f}", f"{line.quantity * line.unit_price:f}")
            for line in invoice.lines
        ),
        _line("", "", "Total", f"{invoice.total:f}", bold=True),
        Row([], 16),
        Row([Text(_LEFT, "Paid in full. Thank you for your order.")]),
    ]
    return document(f"Invoice for order {invoice.order_id}", rows)


def _line(name: str, quantity: str, price: str, total: str, *, bold: bool = False, rule: bool = False) -> Row:
    shown = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    columns = [(_QUANTITY, quantity), (_PRICE, price), (_SUM, total)]
    texts = [Text(x, content, bold=bold, right=True) for x, content in columns]
    return Row([Text(_LEFT, shown, bold=bold), *texts], rule=rule)


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()
