"""Builders of signed webhooks, one for each provider.

Written from the providers' documentation and sharing nothing with `webhooks`, so that the two check each other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chassis import wall_clock


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """A request ready to be posted to `<webhooks>/webhooks/<provider>`; the bytes are what was signed."""

    provider: str
    headers: Mapping[str, str]
    body: bytes


def stripe(
    event_type: str,
    obj: Mapping[str, Any],
    *,
    secret: str,
    event_id: str = "",
    created: int | None = None,
    at: float | None = None,
) -> SignedWebhook:
    """A Stripe event about `obj`, created at `created` and signed at `at` (Unix seconds, now by default)."""
    now = int(wall_clock.seconds() if at is None else at)
    event = {
        "id": event_id or f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "type": event_type,
        "created": now if created is None else created,
        "livemode": False,
        "data": {"object": dict(obj)},
    }
    body = _json(event)
    digest = hmac.new(secret.encode(), str(now).encode() + b"." + body, hashlib.sha256).hexdigest()
    return _signed("stripe", body, {"Stripe-Signature": f"t={now},v1={digest}"})


def github(event_type: str, payload: Mapping[str, Any], *, secret: str, delivery_id: str = "") -> SignedWebhook:
    """A GitHub event (`push`, …)."""
    body = _json(payload)
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": event_type,
        "X-GitHub-Delivery": delivery_id or str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return _signed("github", body, headers)


def shopify(topic: str, payload: Mapping[str, Any], *, secret: str, webhook_id: str = "") -> SignedWebhook:
    """A Shopify event (`orders/create`, …)."""
    body = _json(payload)
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    headers = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Webhook-Id": webhook_id or str(uuid.uuid4()),
        "X-Shopify-Shop-Domain": "polyglot.myshopify.test",
        "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
    }
    return _signed("shopify", body, headers)


def standard(
    event_type: str, data: Mapping[str, Any], *, secret: str, webhook_id: str = "", at: float | None = None
) -> SignedWebhook:
    """An event by the Standard Webhooks specification, signed at `at` (Unix seconds, now by default)."""
    now = int(wall_clock.seconds() if at is None else at)
    webhook_id = webhook_id or f"msg_{uuid.uuid4().hex}"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    body = _json({"type": event_type, "timestamp": stamp, "data": dict(data)})
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{now}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    return _signed("standard", body, headers)


PROVIDERS = ("stripe", "github", "shopify", "standard")


class Fault(StrEnum):
    """Faults on the way to the shop. The first four are in what is sent, the last two in how."""

    DUPLICATE = "duplicate"
    LATE = "late"
    FORGED = "forged"
    OUT_OF_ORDER = "out-of-order"
    SLOW = "slow"
    FLOOD = "flood"


# Twice what the shop tolerates.
_LATE_SECONDS = 600
_SIGNS_TIME = ("stripe", "standard")


def example(
    provider: str,
    *,
    secret: str,
    event: str = "",
    order_id: str = "123",
    product_id: str = "42",
    payment_id: str = "",
    at: float | None = None,
) -> SignedWebhook:
    """An event of the provider that the shop acts upon, or the one of the type `event` with the same content.

    Raises `KeyError` for a provider that is none of the four.
    """
    payment = _payment(order_id, payment_id, failed=event.endswith("failed"))
    build: Mapping[str, Callable[[], SignedWebhook]] = {
        "stripe": lambda: stripe(event or "payment_intent.succeeded", payment, secret=secret, at=at),
        "github": lambda: github(event or "push", _push(), secret=secret),
        "shopify": lambda: shopify(event or "orders/create", _channel_order(product_id), secret=secret),
        "standard": lambda: standard(event or "shipment.delivered", _delivery(order_id), secret=secret, at=at),
    }
    return build[provider]()


def examples(
    provider: str, *, secret: str, count: int = 1, fault: Fault | None = None, **content: str
) -> list[SignedWebhook]:
    """Make `count` events of the provider in the order in which to send them; `content` is that of `example`.

    Duplicates follow what they repeat. Out of order means: payment_failed is sent after succeeded;
    of the other providers, the newest first. Raises `ValueError` for a fault that the provider's scheme cannot have.
    """
    if fault is Fault.LATE and provider not in _SIGNS_TIME:
        raise ValueError(f"{provider} signs no time, so that nothing from there can be late")
    if fault is Fault.OUT_OF_ORDER and provider == "stripe":
        payment_id = content.pop("payment_id", "") or f"pi_{uuid.uuid4().hex}"
        story = ("payment_intent.payment_failed", "payment_intent.succeeded")
        contents = [{**content, "event": event, "payment_id": payment_id} for event in story]
    else:
        contents = [content] * max(count, 2 if fault is Fault.OUT_OF_ORDER else 1)
    signing = _wrong(secret) if fault is Fault.FORGED else secret
    at = wall_clock.seconds() - _LATE_SECONDS if fault is Fault.LATE else None
    made = [_example(provider, signing, at, facts) for facts in contents]
    if fault is Fault.OUT_OF_ORDER:
        return made[::-1]
    return [webhook for webhook in made for _ in range(2 if fault is Fault.DUPLICATE else 1)]


def _example(provider: str, secret: str, at: float | None, content: Mapping[str, str]) -> SignedWebhook:
    return example(
        provider,
        secret=secret,
        at=at,
        event=content.get("event", ""),
        order_id=content.get("order_id", "123"),
        product_id=content.get("product_id", "42"),
        payment_id=content.get("payment_id", ""),
    )


def _wrong(secret: str) -> str:
    """A secret of the same form that is another one."""
    return secret[:-8] + base64.b64encode(secrets.token_bytes(6)).decode()


def _payment(order_id: str, payment_id: str, *, failed: bool) -> Mapping[str, Any]:
    identity = payment_id or f"pi_{uuid.uuid4().hex}"
    error = {"last_payment_error": {"code": "card_declined", "message": "Your card was declined."}} if failed else {}
    return {"id": identity, "object": "payment_intent", "metadata": {"order_id": order_id}, **error}


def _push() -> Mapping[str, Any]:
    return {"ref": "refs/heads/main", "commits": [{"id": uuid.uuid4().hex}]}


def _channel_order(product_id: str) -> Mapping[str, Any]:
    return {"id": uuid.uuid4().int >> 80, "line_items": [{"sku": product_id, "quantity": 1}]}


def _delivery(order_id: str) -> Mapping[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"order_id": order_id, "carrier": "Parcel Post", "delivered_at": now}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _signed(provider: str, body: bytes, headers: Mapping[str, str]) -> SignedWebhook:
    return SignedWebhook(provider, {"Content-Type": "application/json", **headers}, body)
