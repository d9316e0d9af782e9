"""Protobuf messages without secrets, by their fields' names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.observability.capture.masking import is_secret, masked, masked_value


def masked_message(message: Message) -> Message:
    """A copy of a message, without secrets; serialized, it has as many bytes."""
    copy = type(message)()
    copy.CopyFrom(message)
    _mask_fields(copy)
    return copy


def _mask_fields(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _mask_map(field.message_type.fields_by_name["value"], value)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in value if field.is_repeated else (value,):
                _mask_fields(each)
        elif mask := _mask_of(field):
            if field.is_repeated:
                value[:] = [mask(each) for each in value]
            else:
                setattr(message, field.name, mask(value))


def _mask_map(of_value: FieldDescriptor, values: Any) -> None:
    for key in values:
        if of_value.type == FieldDescriptor.TYPE_MESSAGE:
            _mask_fields(values[key])
        elif of_value.type == FieldDescriptor.TYPE_STRING:
            values[key] = masked_value(str(key), values[key])


def _mask_of(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """What masks a field's values; None for one that cannot hold a secret."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return lambda text: masked_value(field.name, text)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return (lambda data: b"*" * len(data)) if is_secret(field.name) else masked
    return None
