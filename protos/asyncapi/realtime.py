"""The notifier's channels: what clients are sent and what they may send."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

# Of a log in one partition a number, of a Kafka topic "k" and a number for each of its partitions.
_POSITION: Json = {
    "type": "string",
    "pattern": "^k?[0-9]{1,18}([.][0-9]{1,18})*$",
    "maxLength": 2_048,
    "description": "Position in the event log at which to resume. It is opaque: keep it as it is.",
}
_AFTER: Json = {
    "type": "string",
    "description": "The `id` of the last event, or the `position` of a `subscribed` or `pong`, whichever is newest. "
    "An unknown one is answered by resync.",
}
_TOPICS: Json = {
    "type": "array",
    "items": {"type": "string"},
    "description": 'Event types; `*` stands for one word, as in "order.*".',
}
_WORD = r"([a-z0-9_-]{1,32}|\*|#)"
_WANTED_TOPICS: Json = {
    "type": "array",
    "items": {"type": "string", "pattern": rf"^{_WORD}(\.{_WORD}){{0,7}}$"},
    "minItems": 1,
    "maxItems": 32,
    "description": 'Event types; `*` stands for one word, as in "order.*", `#` for any number of them.',
}
_ROOM: Json = {"type": "string", "minLength": 1, "maxLength": 128, "description": "The order's id."}
_CHAT_TEXT: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 2_000,
    # With something to see in it, and of the control characters tab and line breaks alone.
    "pattern": r"^(?=[\s\S]*\S)[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$",
    "description": "Plain text; tab and line breaks are its only control characters.",
}


def _frame(name: str, title: str, payload: Json, *examples: Json) -> Json:
    return {
        "name": name,
        "title": title,
        "contentType": "application/json",
        "payload": {"type": "object", **payload},
        "examples": [{"payload": example} for example in examples],
    }


def _action(action: str, title: str, fields: Json, example: Json, *, optional: tuple[str, ...] = ()) -> Json:
    properties = {"action": {"type": "string", "const": action}, **fields}
    required = [name for name in properties if name not in optional]
    return _frame(action, title, {"required": required, "properties": properties}, {"action": action, **example})


REALTIME_MESSAGES: Json = {
    "notification": _frame(
        "notification",
        "An event, for the users that it concerns",
        {
            "required": ["id", "type", "time", "subject", "data"],
            "properties": {
                "id": _POSITION,
                "type": {"type": "string", "description": "Such as order.paid."},
                "time": {"type": "string", "format": "date-time"},
                "subject": {"type": "string", "description": "The order's or product's id."},
                "data": {"description": "The event's payload."},
            },
        },
        {
            "id": "31",
            "type": "order.paid",
            "time": "2026-01-05T09:00:00Z",
            "subject": "123",
            "data": {"order_id": "123", "user_id": "123", "payment_id": "pi_1"},
        },
    ),
    "subscribed": _frame(
        "subscribed",
        "Everything on these topics after the position will come",
        {
            "required": ["type", "topics", "position"],
            "properties": {"type": {"type": "string", "const": "subscribed"}, "topics": _TOPICS, "position": _POSITION},
        },
        {"type": "subscribed", "topics": ["order.*"], "position": "31"},
    ),
    "resync": _frame(
        "resync",
        "The position is not known any more: read the present state, and go on from here",
        {"required": ["type"], "properties": {"type": {"type": "string", "const": "resync"}}},
        {"type": "resync"},
    ),
    "error": _frame(
        "error",
        "A frame that was refused",
        {
            "required": ["type", "code", "message"],
            "properties": {
                "type": {"type": "string", "const": "error"},
                "code": {"type": "string", "description": "See docs/errors.md."},
                "message": {"type": "string"},
            },
        },
        {"type": "error", "code": "INVALID_FRAME", "message": "frame must be a JSON object"},
    ),
    "unsubscribed": _frame(
        "unsubscribed",
        "Nothing of these topics comes any more",
        {
            "required": ["type", "topics"],
            "properties": {"type": {"type": "string", "const": "unsubscribed"}, "topics": _TOPICS},
        },
        {"type": "unsubscribed", "topics": ["order.*"]},
    ),
    "posted": _frame(
        "posted",
        "A chat text is in the log; it comes back as chat.posted to everyone in the room",
        {
            "required": ["type", "room"],
            "properties": {"type": {"type": "string", "const": "posted"}, "room": {"type": "string"}},
        },
        {"type": "posted", "room": "123"},
    ),
    "pong": _frame(
        "pong",
        "The answer to a ping",
        {
            "required": ["type"],
            "properties": {
                "type": {"type": "string", "const": "pong"},
                "position": {
                    **_POSITION,
                    "description": "Everything up to here has been sent; missing while nothing is subscribed to.",
                },
            },
        },
        {"type": "pong", "position": "31"},
    ),
    "subscribe": _action(
        "subscribe",
        "Subscribe to these topics, with replay of the events after a position",
        {"topics": _WANTED_TOPICS, "after": _AFTER},
        {"topics": ["order.*"], "after": "31"},
        optional=("after",),
    ),
    "unsubscribe": _action(
        "unsubscribe", "End the subscription to these topics", {"topics": _WANTED_TOPICS}, {"topics": ["order.*"]}
    ),
    "chat": _action(
        "chat",
        "Write about an order",
        {"room": _ROOM, "text": _CHAT_TEXT},
        {"room": "123", "text": "Where is it?"},
    ),
    "ping": _action("ping", "Ask for a sign of life", {}, {}),
}
_TO_CLIENT = ("notification", "subscribed", "unsubscribed", "posted", "pong", "resync", "error")
_FROM_CLIENT = ("subscribe", "unsubscribe", "chat", "ping")


def _messages(*names: str) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def realtime_channels(events: dict[str, str]) -> Json:
    return {
        "notifications": {
            "address": "/notifications",
            "title": "WebSocket",
            "description": "Sign in by `Authorization: Bearer`, or by the subprotocol `bearer.TOKEN` from a browser. "
            "Closes 4401 without a valid token, 1013 for a reader that stays too slow, 1009 over 64 KiB.",
            "servers": [{"$ref": "#/servers/notifier"}],
            "messages": _messages(*_TO_CLIENT, *_FROM_CLIENT),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        },
        "notificationStream": {
            "address": "/notifications/stream",
            "title": "Server-sent events",
            "description": "The same events with `id:`; resumes from `Last-Event-ID`, which heartbeats move on, too. "
            "`?topics=` names event types, "
            f"comma-separated: {', '.join(events)}, or such as order.*",
            "servers": [{"$ref": "#/servers/notifierStream"}],
            "messages": _messages("notification", "resync"),
        },
        "graphqlSubscriptions": {
            "address": "/graphql",
            "title": "GraphQL subscriptions",
            "description": "graphql-transport-ws on the gateway (ws://localhost:8000/graphql): `orderUpdates`, as the "
            "GraphQL schema describes it.",
            "messages": {},
        },
    }


def realtime_operations() -> Json:
    def operation(action: str, channel: str, summary: str, names: tuple[str, ...]) -> Json:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
        }

    return {
        "notify": operation("send", "notifications", "notifier sends events to its clients", _TO_CLIENT),
        "obey": operation("receive", "notifications", "notifier takes a client's commands", _FROM_CLIENT),
        "stream": operation(
            "send", "notificationStream", "notifier sends events to its clients", ("notification", "resync")
        ),
    }
