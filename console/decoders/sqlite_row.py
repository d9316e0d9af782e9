"""A row in SQLite's file ("Database File Format", 2.1): a head with the columns' types, then the columns.

The embedded broker sends nothing from process to process: one writes a row, and another reads it.
"""

from __future__ import annotations

import struct
from typing import Any

from console.decoders.http import json_or_text
from console.decoders.parts import CutOffError, Reader, readable

# The embedded broker's tables (chassis/broker/embedded/store.py), by how many columns they have.
_COLUMNS = {
    4: ("position", "attributes", "data", "stored_at"),
    7: ("queue", "position", "attempt", "not_before", "holder", "attributes", "data"),
}
_TYPE_NAMES = {
    0: "NULL: the row's own key, or nothing",
    7: "a floating-point number",
    8: "the integer 0",
    9: "the integer 1",
}
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def read(content: bytes) -> tuple[list[Any], Any]:
    """The parts, and the columns by name; JSON in them as it is."""
    reader = Reader(content)
    row: dict[str, Any] = {}
    try:
        size, width = _varint(content, 0)
        reader.take(width, "size of the row's head", f"{size} bytes")
        types: list[int] = []
        while reader.at < size:
            type_, width = _varint(content, reader.at)
            reader.take(width, f"type of column {len(types) + 1}", _type_name(type_))
            types.append(type_)
        names = _COLUMNS.get(len(types)) or tuple(f"column {at}" for at in range(1, len(types) + 1))
        for name, type_ in zip(names, types, strict=True):
            row[name] = _column(reader, name, type_)
    except CutOffError:
        reader.end("the rest", "cut off")
    reader.end("the rest")
    return reader.parts, row


def _column(reader: Reader, name: str, type_: int) -> Any:
    """A column's value. Raises `CutOffError`."""
    if type_ == 0:
        return None
    if type_ in (8, 9):
        return type_ - 8
    if size := _INTEGER_SIZES.get(type_):
        number = int.from_bytes(reader.rest[:size], "big", signed=True)
        reader.take(size, f"column {name}", str(number))
        return number
    if type_ == 7:
        raw = reader.rest[:8]
        value = struct.unpack("!d", raw)[0] if len(raw) == 8 else 0.0
        reader.take(8, f"column {name}", str(value))
        return value
    data = reader.take((type_ - 12) // 2, f"column {name}", readable(reader.rest[: (type_ - 12) // 2]))
    return json_or_text(data)


def _type_name(type_: int) -> str:
    if type_ >= 12:
        return f"{type_}: {'text' if type_ % 2 else 'blob'} of {(type_ - 12) // 2} bytes"
    return f"{type_}: {_TYPE_NAMES.get(type_) or f'an integer of {_INTEGER_SIZES.get(type_, 0)} bytes'}"


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number in base 128, the highest group first, and how many bytes it has."""
    value = 0
    for size, byte in enumerate(content[at : at + 9], 1):
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, size
    raise CutOffError("varint")
