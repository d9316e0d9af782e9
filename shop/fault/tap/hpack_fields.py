"""Position and representation of each field of an HPACK block (RFC 7541, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_HUFFMAN = 0x80


@dataclass(frozen=True, slots=True)
class Written:
    """A field's bytes from `start` up to `end`, those of a literal value from `value`; how they are written.

    A change of the table's size (6.3) is none of a header: `is_field` is false.
    """

    start: int
    end: int
    value: int
    how: str
    is_field: bool = True


def written(block: bytes) -> Iterator[Written]:
    """The representations of a block in order. Raises `ValueError` for a block that ends within one."""
    at = 0
    while at < len(block):
        start, first = at, block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            yield Written(start, at, at, f"only its index {index} in the table")
        elif first & 0xE0 == 0x20:
            size, at = _integer(block, at, 5)
            yield Written(start, at, at, f"the table has {size} bytes from here on", is_field=False)
        else:
            kept = bool(first & 0x40)
            index, at = _integer(block, at, 6 if kept else 4)
            if not index:
                at = _text(block, at)[1]
            value, end = _text(block, at)
            name = f"its name is index {index}" if index else "its name in full"
            coded = "Huffman" if block[at] & _HUFFMAN else "plain"
            at = end
            yield Written(start, at, value, f"{name}, its value {coded}{', put into the table' if kept else ''}")


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number (5.1) and where it ends."""
    most = (1 << bits) - 1
    value, at = _byte(block, at) & most, at + 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte, at = _byte(block, at), at + 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no HPACK: a number does not end")


def _text(block: bytes, at: int) -> tuple[int, int]:
    """Start and end of a string's bytes (5.2)."""
    size, start = _integer(block, at, 7)
    if start + size > len(block):
        raise ValueError("no HPACK: a text does not end")
    return start, start + size


def _byte(block: bytes, at: int) -> int:
    if at >= len(block):
        raise ValueError("no HPACK: the block does not end")
    return block[at]
