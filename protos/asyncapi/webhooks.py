"""Webhooks both ways: from partners to us, and from us to registered endpoints."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_SIGNED: dict[str, tuple[list[str], str]] = {
    "stripe": (["Stripe-Signature"], "payment_intent.succeeded, payment_intent.payment_failed: the order's payment"),
    "github": (["X-Hub-Signature-256", "X-GitHub-Delivery"], "push: course material has changed"),
    "shopify": (["X-Shopify-Hmac-Sha256", "X-Shopify-Webhook-Id"], "orders/create: an order of the sales channel"),
    "standard": (["webhook-id", "webhook-timestamp", "webhook-signature"], "shipment.delivered: the parcel is there"),
}


def _headers(names: list[str]) -> Json:
    return {"type": "object", "required": names, "properties": {name: dict(_TEXT) for name in names}}


def _message(provider: str) -> Json:
    names, about = _SIGNED[provider]
    return {
        "name": f"{provider}Webhook",
        "title": f"{provider}: {about}",
        "contentType": "application/json",
        "headers": _headers(names),
        "payload": {"type": "object", "description": "The provider's own. It is verified over its raw bytes."},
    }


_SENT: Json = {
    "name": "orderWebhook",
    "title": "An order's event, for an endpoint registered for its type",
    "contentType": "application/json",
    "headers": _headers(_SIGNED["standard"][0]),
    "payload": {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "description": "Such as order.paid."},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"type": "object", "description": "The event's payload."},
        },
    },
}
WEBHOOK_MESSAGES: Json = {**{f"{name}Webhook": _message(name) for name in _SIGNED}, "orderWebhook": _SENT}


def webhook_channels(events: dict[str, str]) -> Json:
    orders = ", ".join(type_ for type_ in events if type_.startswith("order."))
    return {
        "incomingWebhooks": {
            "address": "/webhooks/{provider}",
            "title": "Webhooks from partners",
            "description": "200 once verified and stored, also for a duplicate; 400 malformed, 401 a bad or old "
            "signature, 413 over 1 MiB.",
            "parameters": {"provider": {"enum": list(_SIGNED), "description": "Who calls."}},
            "servers": [{"$ref": "#/servers/webhooks"}],
            "messages": {f"{name}Webhook": {"$ref": f"#/components/messages/{name}Webhook"} for name in _SIGNED},
        },
        "outgoingWebhooks": {
            "address": "/",
            "title": "Webhooks to registered endpoints",
            "description": f"Standard Webhooks. Tried again for days until a 2xx. Types: {orders}.",
            "servers": [{"$ref": "#/servers/endpoint"}],
            "messages": {"orderWebhook": {"$ref": "#/components/messages/orderWebhook"}},
        },
    }


def webhook_operations() -> Json:
    binding = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
    incoming = [{"$ref": f"#/channels/incomingWebhooks/messages/{name}Webhook"} for name in _SIGNED]
    return {
        "receiveWebhook": {
            "action": "receive",
            "channel": {"$ref": "#/channels/incomingWebhooks"},
            "summary": "webhooks verifies it, stores it, and answers; webhook_worker does what it means",
            "messages": incoming,
            "bindings": binding,
        },
        "sendWebhook": {
            "action": "send",
            "channel": {"$ref": "#/channels/outgoingWebhooks"},
            "summary": "webhook_worker calls an endpoint",
            "messages": [{"$ref": "#/channels/outgoingWebhooks/messages/orderWebhook"}],
            "bindings": binding,
        },
    }
