"""An order at each of its stages, with every system's record of it then, as the judgement sees them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from shop.audit.findings import State, verdict
from shop.audit.judgement import judge
from shop.audit.records import (
    Circumstances,
    Item,
    Letter,
    Mail,
    Message,
    Order,
    PastEvent,
    Payment,
    Queue,
    Refund,
    Reservation,
    SalesOrder,
    Traces,
    Webhook,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEMS = [Item("42", 2, Decimal("49.00")), Item("7", 1, Decimal("2.50"))]
TOTAL = Decimal("100.50")
LINES = [
    {"product_id": "42", "quantity": 2, "unit_price": "49.00"},
    {"product_id": "7", "quantity": 1, "unit_price": "2.50"},
]
FACTS: dict[str, dict[str, object]] = {
    "order.placed": {"items": LINES, "total": "100.50", "currency": "EUR"},
    "order.confirmed": {"total": "100.50", "currency": "EUR", "payment_id": "pi_1"},
    "order.paid": {"payment_id": "pi_1"},
    "order.shipped": {"shipment_number": "0000000007"},
    "order.rejected": {"reason": "sold out"},
    "order.delayed": {"reason": "delayed"},
    "order.cancelled": {"reason": "cancelled by the customer"},
    "order.refund_due": {"payment_id": "pi_1"},
}
SHIPPED = ("order.placed", "order.confirmed", "order.paid", "order.shipped")
EXACT = {name: Queue(exact=True, visible=0) for name in Topology.load(TOPOLOGY).queues}
HIDDEN = {name: Queue(exact=False, visible=0) for name in EXACT}


def events(*types: str) -> list[PastEvent]:
    about = {"order_id": "o1", "user_id": "u1"}
    return [
        PastEvent(f"e{number}", type_, number, NOW - timedelta(hours=1), {**about, **FACTS[type_]})
        for number, type_ in enumerate(types, start=1)
    ]


def an_order(status: str, *types: str, **changes: Any) -> Order:
    reason = {"rejected": "sold out", "cancelled": "cancelled by the customer"}.get(status, "")
    payment_id = "pi_1" if "order.confirmed" in types else ""
    order = Order("o1", "u1", status, reason, ITEMS, TOTAL, "EUR", NOW, payment_id, events(*types), 0)
    return replace(order, **changes)


RESERVATION = Reservation("o1", "shipped", {"42": 2, "7": 1})
SALE = SalesOrder("o1", "shipped", "u1", "EUR", ITEMS, ["0000000007"])
PAYMENT = Payment("o1", "pi_1", "succeeded", 10_050, "eur")
REFUND = Refund("o1", "re_1", "pi_1", 10_050, "eur")
WEBHOOK = Webhook(
    "w1", "stripe", "payment_intent.succeeded", NOW, "processed", "applied", "", True, "o1", "pi_1", 10_050, "eur"
)
MAILS = [
    Mail("o1", "e2@shop.test", "confirmed", "ann@shop.test"),
    Mail("o1", "e4@shop.test", "shipped", "ann@shop.test"),
]
LETTER = Letter("o1", "order-mail", "e2", "order.confirmed", "MAIL_REFUSED: no such box", events(*SHIPPED)[1].data)
# Of an order that has just been placed.
PLACED_LETTER = Letter("o1", "order-processing", "e1", "order.placed", "ValueError: no", events("order.placed")[0].data)


def settled(**changes: Any) -> Traces:
    """What the others have of an order that was shipped."""
    whole = {
        "reservations": [RESERVATION],
        "sales_orders": [SALE],
        "payments": [PAYMENT],
        "webhooks": [WEBHOOK],
        "mails": MAILS,
        "email": "ann@shop.test",
    }
    return Traces(**deepcopy({**whole, **changes}))


def around(**changes: Any) -> Circumstances:
    return Circumstances(
        **{"now": NOW, "queues": EXACT, "webhooks_complete_since": NOW - timedelta(days=30), **changes}
    )


def said(order: Order, traces: Traces, circumstances: Circumstances | None = None) -> tuple[State, str]:
    """The verdict, and everything that was found, as one text."""
    findings = judge(order, traces, circumstances or around())
    return verdict(findings), "\n".join(finding.what for finding in findings)


def a(kind: str, **changes: Any) -> list[Any]:
    """One altered record of a kind."""
    whole: dict[str, Any] = {
        "reservations": RESERVATION,
        "sales_orders": SALE,
        "payments": PAYMENT,
        "webhooks": WEBHOOK,
    }
    return [replace(whole[kind], **changes)]


RANKED = list(State)
PENDING = an_order("pending", "order.placed")
CONFIRMED = an_order("confirmed", "order.placed", "order.confirmed")
PAID = an_order("paid", "order.placed", "order.confirmed", "order.paid")
CANCELLED = an_order("cancelled", "order.placed", "order.cancelled")
REFUND_DUE = an_order("cancelled", "order.placed", "order.cancelled", "order.refund_due")
HALFWAY: dict[str, dict[str, Any]] = {
    "pending": {"reservations": [], "sales_orders": [], "payments": [], "webhooks": [], "mails": []},
    "confirmed": {
        "reservations": a("reservations", state="held"),
        "sales_orders": a("sales_orders", state="open", shipments=[]),
        "webhooks": [],
        "mails": MAILS[:1],
    },
    "paid": {
        "reservations": a("reservations", state="held"),
        "sales_orders": a("sales_orders", state="open", shipments=[]),
        "mails": MAILS[:1],
    },
}
COLLECTING = {**HALFWAY["confirmed"], "payments": a("payments", status="processing")}
RECEIVED = a("webhooks", status="failed", outcome="", error="UPSTREAM_UNAVAILABLE")
HELD = {
    "reservations": a("reservations", state="held"),
    "sales_orders": [],
    "payments": [],
    "webhooks": [],
    "mails": [],
}
# All was undone, and then the money came.
LATE = {**HELD, "reservations": [], "payments": [PAYMENT]}


def a_message(queue: str, subject: str = "o1") -> list[Message]:
    return [Message(subject, queue, "order.placed", 3, NOW + timedelta(seconds=30))]
