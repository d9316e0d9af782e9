"""Handlers of partners' events, by provider and type. An event that is not in the table is ignored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from webhooks.incoming.domain import Payload, Webhook, unusable
from webhooks.incoming.ports import Shop

# The course "Software Architecture": its material lives in the repository whose push events we receive.
COURSE = "123"

_MAX_LINES = 100
_MAX_QUANTITY = 1_000

# Applies a webhook's effect. Raises UNUSABLE_WEBHOOK when a field that it needs is missing.
Handler = Callable[[Webhook, Payload, Shop], Awaitable[None]]


async def _payment_succeeded(_: Webhook, payload: Payload, shop: Shop) -> None:
    payment = _object(payload, "data", "object")
    await shop.mark_paid(_text(payment, "metadata", "order_id"), _text(payment, "id"))


async def _payment_failed(_: Webhook, payload: Payload, shop: Shop) -> None:
    payment = _object(payload, "data", "object")
    error = payment.get("last_payment_error")
    reason = error.get("message") if isinstance(error, dict) else None
    order_id, payment_id = _text(payment, "metadata", "order_id"), _text(payment, "id")
    await shop.mark_payment_failed(order_id, payment_id, str(reason or "the payment failed"))


async def _channel_order(webhook: Webhook, payload: Payload, shop: Shop) -> None:
    lines = payload.get("line_items")
    if not (isinstance(lines, list) and 0 < len(lines) <= _MAX_LINES):
        raise unusable(f"line_items is not a list of 1 to {_MAX_LINES} lines")
    items = [(_product_id(line), _quantity(line)) for line in lines]
    await shop.place_channel_order(webhook.provider, _text(payload, "id"), items)


async def _material_pushed(webhook: Webhook, _: Payload, shop: Shop) -> None:
    event_id = f"{webhook.provider}:{webhook.provider_event_id}"
    await shop.refresh_material(COURSE, event_id, webhook.received_at)


async def _shipment_delivered(_: Webhook, payload: Payload, shop: Shop) -> None:
    order_id, carrier = _text(payload, "data", "order_id"), _text(payload, "data", "carrier")
    await shop.record_delivery(order_id, carrier, _time(payload, "data", "delivered_at"))


HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("stripe", "payment_intent.succeeded"): _payment_succeeded,
    ("stripe", "payment_intent.payment_failed"): _payment_failed,
    ("shopify", "orders/create"): _channel_order,
    ("github", "push"): _material_pushed,
    ("standard", "shipment.delivered"): _shipment_delivered,
}


def _at(payload: Any, *path: str) -> object:
    found = payload
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _object(payload: Any, *path: str) -> Payload:
    found = _at(payload, *path)
    if not isinstance(found, dict):
        raise unusable(f"{'.'.join(path)} is not an object")
    return found


def _text(payload: Any, *path: str) -> str:
    """A string, or an integer converted to one: providers send ids as either."""
    found = _at(payload, *path)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if not (isinstance(found, str) and found and found.isprintable()):
        raise unusable(f"{'.'.join(path)} is missing")
    return found


def _product_id(line: Any) -> str:
    """A channel's merchants write our product's id into the SKU; without one, the channel's product has our id."""
    return _text(line, "sku") if _at(line, "sku") else _text(line, "product_id")


def _quantity(line: Any) -> int:
    quantity = _at(line, "quantity")
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 < quantity <= _MAX_QUANTITY:
        raise unusable(f"quantity is not a number from 1 to {_MAX_QUANTITY}")
    return quantity


def _time(payload: Any, *path: str) -> datetime:
    text = _text(payload, *path)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise unusable(f"{'.'.join(path)} is not a time in RFC 3339") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
