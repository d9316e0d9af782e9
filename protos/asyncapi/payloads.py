"""Payloads of shop.events.v1 as JSON schemas (draft 7, which AsyncAPI 3 builds on), with the contract's comments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from protos.shop.events.v1 import events_pb2

Json = dict[str, Any]

_PROTO = Path(__file__).parents[1] / "shop/events/v1/events.proto"
_MESSAGE = re.compile(r"message (\w+) \{")
_FIELD = re.compile(r"  (?:repeated )?[\w.]+ (\w+) = \d+;")
_TIMESTAMP = "google.protobuf.Timestamp"
# protobuf's JSON mapping writes 64-bit numbers as strings, since JavaScript cannot hold them exactly.
_NUMBER_AS_TEXT = {"type": "string", "pattern": "^-?[0-9]+$"}
_TYPES: dict[int, Json] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: _NUMBER_AS_TEXT,
}
# What a field that is left out has.
_DEFAULTS: dict[int, Any] = {
    FieldDescriptor.TYPE_STRING: "",
    FieldDescriptor.TYPE_BOOL: False,
    FieldDescriptor.TYPE_INT32: 0,
    FieldDescriptor.TYPE_INT64: "0",
}


def comments() -> dict[str, str]:
    """The comment above each message ("OrderPaid") and each field ("OrderPaid.order_id")."""
    found: dict[str, str] = {}
    message, lines = "", list[str]()
    for line in _PROTO.read_text().splitlines():
        if line.strip().startswith("//"):
            lines.append(line.strip().removeprefix("//").strip())
            continue
        if named := _MESSAGE.match(line):
            message = named[1]
            found[message] = " ".join(lines)
        elif named := _FIELD.match(line):
            found[f"{message}.{named[1]}"] = " ".join(lines)
        lines = []
    return found


def event_messages() -> dict[str, str]:
    """Event type -> the name of its message: the comment of an event's message begins with its type."""
    said = comments()
    return {
        said[name].partition(":")[0]: name
        for name in events_pb2.DESCRIPTOR.message_types_by_name
        if re.match(r"[a-z]+\.[a-z_]+: ", said[name])
    }


def schemas() -> dict[str, Json]:
    """Every message as a schema. A field that has its default value is left out, so nothing but ids is sure."""
    said = comments()
    return {
        name: _object(message, said) for name, message in sorted(events_pb2.DESCRIPTOR.message_types_by_name.items())
    }


def _object(message: Descriptor, said: dict[str, str]) -> Json:
    names = message.fields_by_name
    sure = [name for name in ("order_id", "product_id", "webhook_id") if name in names][:1]
    properties = {
        field.name: {
            **_value(field),
            **({} if field.name in sure else _default(field)),
            "description": said[f"{message.name}.{field.name}"],
        }
        for field in message.fields
    }
    return {"type": "object", "description": said[message.name], "required": sure, "properties": properties}


def _default(field: FieldDescriptor) -> Json:
    """The default of a field; none for one whose absence means something else than a value."""
    if field.is_repeated:
        return {"default": []}
    return {} if field.has_presence else {"default": _DEFAULTS[field.type]}


def _value(field: FieldDescriptor) -> Json:
    if field.is_repeated:
        return {"type": "array", "items": _one(field)}
    return _one(field)


def _one(field: FieldDescriptor) -> Json:
    if field.message_type is None:
        return dict(_TYPES[field.type])
    if field.message_type.full_name == _TIMESTAMP:
        return {"type": "string", "format": "date-time"}
    return {"allOf": [{"$ref": f"#/components/schemas/{field.message_type.name}"}]}
