"""The services' messages and the partners' JSON, as the audit's records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC
from decimal import Decimal, InvalidOperation
from email.utils import parseaddr
from typing import Any

from chassis.broker.port import DeadLetter
from protos.shop.erp.v1 import erp_pb2
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.orders.v1 import orders_pb2
from protos.shop.webhooks.v1 import webhooks_pb2
from shop.audit.records import (
    Item,
    Letter,
    Mail,
    Order,
    PastEvent,
    Payment,
    PaymentEvent,
    Refund,
    Reservation,
    SalesOrder,
    Stock,
    Webhook,
)


def order(record: orders_pb2.OrderRecord) -> Order:
    """An order with its history."""
    held = record.order
    return Order(
        id=held.id,
        user_id=held.user_id,
        status=held.status,
        status_reason=held.status_reason,
        items=_items(held.items),
        total=_amount(held.total),
        currency=held.currency,
        placed_at=held.placed_at.ToDatetime(UTC),
        payment_id=record.payment_id,
        history=[
            PastEvent(event.id, event.type, event.sequence, event.time.ToDatetime(UTC), _facts(event.data_json))
            for event in record.events
        ],
        unpublished=record.unpublished,
    )


def reservation(message: inventory_pb2.Reservation) -> Reservation:
    """Inventory's."""
    lines: dict[str, int] = {}
    for item in message.items:
        lines[item.product_id] = lines.get(item.product_id, 0) + item.quantity
    return Reservation(message.order_id, message.state, lines)


def sales_order(message: erp_pb2.SalesOrder) -> SalesOrder:
    """The ERP's."""
    return SalesOrder(
        order_id=message.order_id,
        state=message.state,
        customer_id=message.customer_id,
        currency=message.currency,
        items=_items(message.items),
        shipments=list(message.shipment_numbers),
    )


def stock(message: inventory_pb2.Stock) -> Stock:
    """A product's figures."""
    return Stock(
        product_id=message.product_id,
        received=message.received,
        available=message.available,
        reserved=message.reserved,
        shipped=message.shipped,
        erp_on_hand=message.erp_on_hand if message.HasField("erp_on_hand") else None,
    )


def webhook(record: webhooks_pb2.WebhookRecord) -> Webhook:
    """A webhook in our store, with its payment."""
    kept, payment = record.webhook, record.payment
    return Webhook(
        id=kept.id,
        provider=kept.provider,
        type=kept.event_type,
        received_at=kept.received_at.ToDatetime(UTC),
        status=kept.status,
        outcome=kept.outcome,
        error=kept.error,
        published=record.published,
        order_id=payment.order_id,
        payment_id=payment.payment_id,
        amount=payment.amount,
        currency=payment.currency,
    )


def payment(row: Mapping[str, Any]) -> Payment:
    """A payment intent."""
    order_id, refunded = str(row["metadata"].get("order_id", "")), int(row["amount_refunded"])
    return Payment(order_id, row["id"], row["status"], int(row["amount"]), row["currency"], refunded)


def refund(row: Mapping[str, Any]) -> Refund:
    """A refund, the whole of a payment or a part."""
    order_id = str(row["metadata"].get("order_id", ""))
    return Refund(order_id, row["id"], row["payment_intent"], int(row["amount"]), row["currency"])


def payment_event(row: Mapping[str, Any]) -> PaymentEvent:
    """An event that the provider has to deliver yet."""
    about = row["data"]["object"]
    return PaymentEvent(
        str(about.get("metadata", {}).get("order_id", "")), row["id"], row["type"], int(row["attempts"])
    )


def mail(row: Mapping[str, Any]) -> Mail:
    """A mail as the mail server lists it."""
    to = parseaddr(row["to"])[1] or row["to"]
    return Mail(row["order_id"], row["message_id"], row["kind"], to, tuple(row.get("recipients", ())))


def letter(dead: DeadLetter) -> Letter:
    """A dead letter as the broker has it."""
    event = dead.event
    try:
        data = json.loads(event.data)
    except ValueError:
        data = None
    facts = data if isinstance(data, dict) else None
    return Letter(event.subject or dead.id, dead.queue, dead.id, event.type, dead.reason, facts)


def _items(lines: Iterable[Any]) -> list[Item]:
    return [Item(line.product_id, line.quantity, _amount(line.unit_price)) for line in lines]


def _amount(text: str) -> Decimal:
    """An amount; one that is none is like no other."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _facts(data_json: str) -> Mapping[str, object]:
    """An event's payload; empty where it is no JSON object, which differs from every order."""
    try:
        facts = json.loads(data_json)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
