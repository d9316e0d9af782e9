"""Webhooks both ways: from partners to us, and from us to registered endpoints."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

# What an id or a type may be: it is kept, and shown.
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 255}
_STANDARD_HEADERS: dict[str, Json] = {
    "webhook-id": {**_NAME, "description": "The event's id: a repeat has the same."},
    "webhook-timestamp": {"type": "string", "pattern": "^[0-9]{1,12}$", "description": "Unix seconds."},
    "webhook-signature": {
        "type": "string",
        "description": "`v1,` and the base64 of an HMAC-SHA256 over `id.timestamp.body`; between several, a space.",
    },
}
_HEADERS: dict[str, dict[str, Json]] = {
    "stripe": {
        "Stripe-Signature": {
            "type": "string",
            "description": "`t=<Unix seconds>,v1=<hex>`: an HMAC-SHA256 over `t.body`.",
        }
    },
    "github": {
        "X-GitHub-Event": {**_NAME, "description": "The event's type."},
        "X-GitHub-Delivery": {**_NAME, "description": "The event's id: a repeat has the same."},
        "X-Hub-Signature-256": {"type": "string", "description": "`sha256=<hex>`: an HMAC-SHA256 over the body."},
    },
    "shopify": {
        "X-Shopify-Topic": {**_NAME, "description": "The event's type."},
        "X-Shopify-Webhook-Id": {**_NAME, "description": "The event's id: a repeat has the same."},
        "X-Shopify-Hmac-Sha256": {"type": "string", "description": "The base64 of an HMAC-SHA256 over the body."},
    },
    "standard": _STANDARD_HEADERS,
}
_ABOUT = {
    "stripe": "payment_intent.succeeded, payment_intent.payment_failed: the order's payment",
    "github": "push: course material has changed",
    "shopify": "orders/create: an order of the sales channel",
    "standard": "shipment.delivered: the parcel is there",
}
_VERIFIED = "It is verified over its raw bytes."
_DELIVERY: Json = {
    "type": "object",
    "required": ["order_id", "carrier", "delivered_at"],
    "properties": {
        "order_id": {"type": "string", "minLength": 1},
        "carrier": {"type": "string", "minLength": 1},
        "delivered_at": {"type": "string", "format": "date-time"},
    },
}
_PAYLOADS: dict[str, Json] = {
    "stripe": {
        "type": "object",
        "description": f"The provider's own. {_VERIFIED}",
        "required": ["id", "type"],
        "properties": {"id": _NAME, "type": _NAME},
    },
    "github": {"type": "object", "description": f"The provider's own. {_VERIFIED}"},
    "shopify": {"type": "object", "description": f"The provider's own. {_VERIFIED}"},
    "standard": {
        "type": "object",
        "description": f"{_VERIFIED} An event of any other type is stored, and nothing is done for it.",
        "required": ["type"],
        "properties": {
            "type": {**_NAME, "description": "shipment.delivered."},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"type": "object"},
        },
        "if": {"properties": {"type": {"const": "shipment.delivered"}}},
        "then": {"required": ["data"], "properties": {"data": _DELIVERY}},
    },
}
_EXAMPLES: dict[str, Json] = {
    "stripe": {
        "id": "evt_1",
        "type": "payment_intent.succeeded",
        "data": {"object": {"id": "pi_1", "metadata": {"order_id": "123"}}},
    },
    "github": {"ref": "refs/heads/main", "commits": [{"id": "6dcb09b5b57875f334f61aebed695e2e4193db5e"}]},
    "shopify": {"id": 820982911946154508, "line_items": [{"sku": "42", "quantity": 1}]},
    "standard": {
        "type": "shipment.delivered",
        "timestamp": "2026-01-05T09:00:00Z",
        "data": {"order_id": "123", "carrier": "Parcel Post", "delivered_at": "2026-01-05T09:00:00Z"},
    },
}


def _headers(fields: dict[str, Json]) -> Json:
    return {"type": "object", "required": list(fields), "properties": fields}


def _message(provider: str) -> Json:
    return {
        "name": f"{provider}Webhook",
        "title": f"{provider}: {_ABOUT[provider]}",
        "contentType": "application/json",
        "headers": _headers(_HEADERS[provider]),
        "payload": _PAYLOADS[provider],
        "examples": [{"payload": _EXAMPLES[provider]}],
    }


_SENT: Json = {
    "name": "orderWebhook",
    "title": "An order's event, for an endpoint registered for its type",
    "contentType": "application/json",
    "headers": _headers(_STANDARD_HEADERS),
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
# By default: webhook_worker's settings can be others.
_DELIVERED = (
    "Delivered once it is answered 2xx; anything else, a redirect too, is a failure. By default there are 8 attempts"
    " within 27.6 hours, then the delivery has failed, and can be sent again by the REST API. A 410 disables the"
    " endpoint, and so do 5 days of nothing but failures. `Retry-After` of a 429 or 503 is followed, up to 1 hour."
)
WEBHOOK_MESSAGES: Json = {**{f"{name}Webhook": _message(name) for name in _HEADERS}, "orderWebhook": _SENT}


def webhook_channels(events: dict[str, str]) -> Json:
    orders = ", ".join(type_ for type_ in events if type_.startswith("order."))
    return {
        "incomingWebhooks": {
            "address": "/webhooks/{provider}",
            "title": "Webhooks from partners",
            "description": "200 once verified and stored, also for a duplicate; 400 malformed, or without an id or "
            "a type; 401 no signature, a bad or an old one; 413 over 1 MiB.",
            "parameters": {"provider": {"enum": list(_HEADERS), "description": "Sender of the webhook."}},
            "servers": [{"$ref": "#/servers/webhooks"}],
            "messages": {f"{name}Webhook": {"$ref": f"#/components/messages/{name}Webhook"} for name in _HEADERS},
        },
        "outgoingWebhooks": {
            "address": "/",
            "title": "Webhooks to registered endpoints",
            "description": f"Standard Webhooks. {_DELIVERED} Types: {orders}.",
            "servers": [{"$ref": "#/servers/endpoint"}],
            "messages": {"orderWebhook": {"$ref": "#/components/messages/orderWebhook"}},
        },
    }


def webhook_operations() -> Json:
    binding = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
    incoming = [{"$ref": f"#/channels/incomingWebhooks/messages/{name}Webhook"} for name in _HEADERS]
    return {
        "receiveWebhook": {
            "action": "receive",
            "channel": {"$ref": "#/channels/incomingWebhooks"},
            "summary": "webhooks verifies it, stores it, and answers; webhook_worker processes it",
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
