"""The AsyncAPI 3.0 document: the exchange and its queues, WebSocket and event stream, webhooks both ways.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from protos.asyncapi.payloads import event_messages, schemas
from protos.asyncapi.realtime import REALTIME_MESSAGES, realtime_channels, realtime_operations
from protos.asyncapi.webhooks import WEBHOOK_MESSAGES, webhook_channels, webhook_operations

Json = dict[str, Any]

_TOPOLOGY = Path(__file__).parents[1] / "shop/events/v1/topology.toml"
_PUBLISHER = {
    "order": "orders and order_worker, by their outbox",
    "product": "catalog, by its outbox",
    "stock": "inventory, by its outbox",
    "webhook": "webhook_worker, by the store of webhooks",
    "chat": "notifier",
    "report": "reports, by its outbox",
}
_CONSUMER = {
    "order-processing": "order_worker: reserve, register with the ERP, request the payment, confirm",
    "order-fulfilment": "order_worker: have the order shipped",
    "order-compensation": "order_worker: undo completed steps, refund payments",
    "order-invoice": "storage: write the invoice",
    "order-mail": "mailer: write to the customer",
    "webhook-processing": "webhook_worker: process received webhooks",
    "webhook-delivery": "webhook_worker: call the endpoints that registered for it",
}
_ABOUT = """Everything of the shop that is not request and response. The REST API is described by `/openapi.json`,
gRPC by the contracts in `protos/`, GraphQL by its schema.

Delivery is at least once: a consumer recognises a repeated event by the CloudEvents `id` (inbox). Events of one
order are numbered by the extension attribute `sequence`. A field of an event that has its default value is left out
of the event: each schema has the `default`."""


def document() -> Json:
    """The whole document."""
    topology = tomllib.loads(_TOPOLOGY.read_text())
    events = event_messages()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Polyglot Shop: events, WebSockets and webhooks", "version": "1.0.0", "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {
            **_event_channels(topology, events),
            **_queue_channels(topology, events),
            **realtime_channels(events),
            **webhook_channels(events),
        },
        "operations": {
            **_event_operations(events),
            **_queue_operations(topology, events),
            **realtime_operations(),
            **webhook_operations(),
        },
        "components": {
            "messages": {
                **{name: _event_message(type_, name) for type_, name in events.items()},
                **REALTIME_MESSAGES,
                **WEBHOOK_MESSAGES,
            },
            "schemas": {**schemas(), "CloudEvent": _ENVELOPE},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "amqp": {"type": "userPassword", "description": "Each process has a user of its own."},
            },
        },
    }


def matches(pattern: str, type_: str) -> bool:
    """Whether a binding such as "order.*" takes an event type; `*` is one word, as in AMQP."""
    words, wanted = type_.split("."), pattern.split(".")
    return len(words) == len(wanted) and all(w in ("*", word) for word, w in zip(words, wanted, strict=True))


def _servers() -> Json:
    return {
        "broker": {
            "host": "localhost:5672",
            "protocol": "amqp",
            "description": "RabbitMQ; without a server the shop has the same topology in one SQLite file.",
            "security": [{"$ref": "#/components/securitySchemes/amqp"}],
        },
        "notifier": {
            "host": "localhost:8001",
            "protocol": "ws",
            "description": "WebSocket, for both ways.",
            "security": [{"$ref": "#/components/securitySchemes/bearer"}],
        },
        "notifierStream": {
            "host": "localhost:8001",
            "protocol": "http",
            "description": "Server-sent events, for one way.",
            "security": [{"$ref": "#/components/securitySchemes/bearer"}],
        },
        "webhooks": {"host": "localhost:8002", "protocol": "http", "description": "Receiver of partners' webhooks."},
        "endpoint": {
            "host": "{host}",
            "protocol": "https",
            "description": "An endpoint that was registered by `POST /v1/webhook-endpoints`.",
            "variables": {"host": {"description": "the receiver's own", "default": "example.com"}},
        },
    }


def _event_channels(topology: Json, events: dict[str, str]) -> Json:
    exchange = {"name": topology["exchange"], "type": "topic", "durable": True, "autoDelete": False, "vhost": "/"}
    return {
        type_: {
            "address": type_,
            "title": type_,
            "servers": [{"$ref": "#/servers/broker"}],
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
        }
        for type_, name in events.items()
    }


def _queue_channels(topology: Json, events: dict[str, str]) -> Json:
    bindings = {**topology["queues"], topology["log"]: list(events)}
    about = {topology["log"]: "The retained log: every event, each with a position. It is read, never emptied."}
    return {
        queue: {
            "address": queue,
            "title": queue,
            "description": about.get(queue, f"Takes {', '.join(taken)}; dead letters in {queue}.dead."),
            "servers": [{"$ref": "#/servers/broker"}],
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _taken(taken, events)},
            "bindings": {
                "amqp": {
                    "is": "queue",
                    "queue": {"name": queue, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"},
                    "bindingVersion": "0.3.0",
                }
            },
        }
        for queue, taken in bindings.items()
    }


def _taken(patterns: list[str], events: dict[str, str]) -> list[str]:
    return [name for type_, name in events.items() if any(matches(pattern, type_) for pattern in patterns)]


def _event_operations(events: dict[str, str]) -> Json:
    return {
        f"publish-{type_}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{type_}"},
            "summary": f"Published by {_PUBLISHER[type_.partition('.')[0]]}.",
            "messages": [{"$ref": f"#/channels/{type_}/messages/{name}"}],
        }
        for type_, name in events.items()
    }


def _queue_operations(topology: Json, events: dict[str, str]) -> Json:
    followed = {
        f"consume-{queue}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{queue}"},
            "summary": _CONSUMER[queue],
            "messages": [
                {"$ref": f"#/channels/{queue}/messages/{name}"} for name in _taken(topology["queues"][queue], events)
            ],
        }
        for queue in topology["queues"]
    }
    log = topology["log"]
    return {
        **followed,
        f"follow-{log}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{log}"},
            "summary": "notifier, gateway, orders and reports read it, each from its own position",
            "messages": [{"$ref": f"#/channels/{log}/messages/{name}"} for name in events.values()],
        },
    }


def _event_message(type_: str, name: str) -> Json:
    return {
        "name": type_,
        "title": type_,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/CloudEvent"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "correlationId": {
            "description": "The W3C trace of the order.",
            "location": "$message.header#/cloudEvents:traceparent",
        },
    }


_TEXT = {"type": "string"}
_ENVELOPE: Json = {
    "type": "object",
    "description": "The attributes of a CloudEvents 1.0 event (AMQP binary mode): each is a message header.",
    "required": [f"cloudEvents:{name}" for name in ("specversion", "id", "source", "type", "subject", "time")],
    "properties": {
        "cloudEvents:specversion": {"type": "string", "const": "1.0"},
        "cloudEvents:id": {**_TEXT, "description": "The same wherever the event is seen; repeats have the same."},
        "cloudEvents:source": {**_TEXT, "description": "Who publishes it, such as /orders."},
        "cloudEvents:type": {**_TEXT, "description": "The routing key."},
        "cloudEvents:subject": {**_TEXT, "description": "The id of the order, product or webhook."},
        "cloudEvents:time": {**_TEXT, "format": "date-time"},
        "cloudEvents:userid": {**_TEXT, "description": "Its owner; decides which clients get it."},
        "cloudEvents:sequence": {**_TEXT, "description": "1, 2, 3 … without gaps within one order."},
        "cloudEvents:traceparent": {**_TEXT, "description": "W3C Trace Context."},
    },
}
