"""Protobuf messages without secrets, by their fields' names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from chassis.observability.capture.masking import is_secret, masked, masked_value, may_hold_secret


def masked_bytes(message: Message) -> bytes:
    """A serialized message, without secrets and as long as with them.

    Going through its fields takes ten times as long as looking at its bytes, which most messages need only.
    """
    content = message.SerializeToString()
    if _has_secret_field(message.DESCRIPTOR) or may_hold_secret(content):
        return masked_message(message).SerializeToString()
    return content


@functools.cache
def _has_secret_field(message: Descriptor) -> bool:
    """Whether a field of this message, or of one within it, holds a secret by its name."""
    seen: set[Descriptor] = set()
    waiting = [message]
    while waiting:
        seen.add(found := waiting.pop())
        if any(is_secret(field.name) for field in found.fields):
            return True
        waiting += {field.message_type for field in found.fields if field.message_type is not None} - seen
    return False


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
    """The masker of a field's values; None for one that cannot hold a secret."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return lambda text: masked_value(field.name, text)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return (lambda data: b"*" * len(data)) if is_secret(field.name) else masked
    return None
