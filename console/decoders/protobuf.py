"""Protobuf by hand: each field's bytes on the wire, with its name where the schema is known; and gRPC's framing."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from console.decoders.parts import CutOffError, Reader, readable
from protos.shop.catalog.v1 import catalog_pb2
from protos.shop.erp.v1 import erp_pb2
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.orders.v1 import orders_pb2
from protos.shop.reports.v1 import reports_pb2
from protos.shop.storage.v1 import storage_pb2
from protos.shop.users.v1 import users_pb2
from protos.shop.webhooks.v1 import webhooks_pb2

_FILES = (catalog_pb2, erp_pb2, inventory_pb2, orders_pb2, reports_pb2, storage_pb2, users_pb2, webhooks_pb2)
STATUS: Descriptor = status_pb2.Status.DESCRIPTOR
# What a status' details are made of; importing it makes them known.
_DETAILS = error_details_pb2.DESCRIPTOR.package
PREFIX_BYTES = 5
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 20


@cache
def methods() -> dict[str, MethodDescriptor]:
    """The shop's gRPC methods by name: "shop.orders.v1.OrderService/GetOrder"."""
    return {
        f"{service.full_name}/{method.name}": method
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def read_grpc(reader: Reader, schema: Descriptor | None) -> None:
    """GRPC's prefix (its HTTP/2 protocol, "Length-Prefixed-Message"), and the message. Raises `CutOffError`."""
    reader.number(1, "gRPC compressed flag", "{}: 0 is not compressed")
    reader.number(4, "gRPC message length", "{} bytes")
    read_fields(reader, schema, len(reader.content), "")


def read_fields(reader: Reader, schema: Descriptor | None, end: int, path: str, depth: int = 0) -> None:
    """The fields up to a byte; those of nested messages by the path of their names. Raises `CutOffError`."""
    while reader.at < end:
        key, key_size = _varint(reader, reader.at)
        number, wire_type = key >> 3, key & 7
        field = schema.fields_by_number.get(number) if schema is not None else None
        name = f"{number} {path}{field.name if field is not None else '?'}"
        if wire_type == _VARINT:
            value, size = _varint(reader, reader.at + key_size)
            reader.take(key_size + size, name, _shown(field, value))
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
            raw = reader.content[reader.at + key_size : reader.at + key_size + size]
            reader.take(key_size + size, name, _fixed(field, raw))
        elif wire_type == _LENGTH:
            length, size = _varint(reader, reader.at + key_size)
            _read_sized(reader, field, name, (key_size + size, length), f"{path}{field.name if field else '?'}.", depth)
        else:
            reader.end(name, f"no wire type of protobuf: {wire_type}")
            raise CutOffError(name)


def _read_sized(
    reader: Reader, field: FieldDescriptor | None, name: str, sizes: tuple[int, int], path: str, depth: int
) -> None:
    head, length = sizes
    if field is not None and field.message_type is not None and depth < _MAX_DEPTH:
        reader.take(head, name, f"a message of {length} bytes")
        read_fields(reader, field.message_type, reader.at + length, path, depth + 1)
        return
    raw = reader.content[reader.at + head : reader.at + head + length]
    is_text = field is None or field.type == FieldDescriptor.TYPE_STRING
    reader.take(head + length, name, readable(raw) if is_text else f"{length} bytes")


def _varint(reader: Reader, at: int) -> tuple[int, int]:
    """A number in base 128, and how many bytes it has. Raises `CutOffError`."""
    value = 0
    for size, byte in enumerate(reader.content[at : at + 10], 1):
        value |= (byte & 0x7F) << 7 * (size - 1)
        if not byte & 0x80:
            return value, size
    reader.end("field", "cut off")
    raise CutOffError("varint")


def _shown(field: FieldDescriptor | None, value: int) -> str:
    if field is None:
        return str(value)
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return f"{value}: {found.name}" if found is not None else str(value)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return str(bool(value)).lower()
    if field.type in (FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SINT64):
        return str(value >> 1 ^ -(value & 1))
    return str(value - (1 << 64) if value >> 63 else value)


def _fixed(field: FieldDescriptor | None, raw: bytes) -> str:
    floating = field is not None and field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
    code = {(8, True): "<d", (8, False): "<q", (4, True): "<f", (4, False): "<i"}.get((len(raw), floating))
    return "" if code is None else str(struct.unpack(code, raw)[0])


def decoded(payload: bytes, schema: Descriptor | None) -> Any:
    """A message by its fields' names: of one that was cut off, the fields before the cut.

    None where the schema is not known.
    """
    if schema is None:
        return None
    message = message_factory.GetMessageClass(schema)()
    try:
        message.ParseFromString(_whole_fields(payload))
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (DecodeError, TypeError, ValueError):
        return None  # no such message; `TypeError`: a detail of a type that is not ours


def _whole_fields(payload: bytes) -> bytes:
    """The outermost fields that are complete."""
    reader = Reader(payload)
    try:
        # Without a schema each of them is one part; the last part is what there is of the one that was cut off.
        read_fields(reader, None, len(payload), "")
    except CutOffError:
        return payload[: reader.parts[-1].start]
    return payload
