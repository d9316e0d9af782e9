"""A message as its protocol writes it, put together from what the libraries show of it. Pure.

What is put together from parts (a head, a row) is masked part by part, before a length is written that depends on it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chassis.observability.capture.masking import masked

# Bytes of a message that are kept, and those beyond that are looked at, so that a secret on the edge is seen whole.
KEPT_BYTES = 4 << 10
LOOKED_AT_BYTES = KEPT_BYTES + 256


class Form(StrEnum):
    """The encoding of a captured message's bytes."""

    HTTP_REQUEST = "http-request"
    HTTP_RESPONSE = "http-response"
    GRPC = "grpc"
    GRPC_STATUS = "grpc-status"
    AMQP = "amqp"
    KAFKA = "kafka"
    SQLITE_ROW = "sqlite-row"
    WEBSOCKET = "websocket"
    EVENT_STREAM = "event-stream"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class Message:
    """`content` is the message or its beginning, `size` all of its bytes."""

    form: Form
    content: bytes
    size: int
    content_type: str = ""


def http_request(method: str, target: str, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a request (RFC 9112, section 3). The names are as the library shows them: lower-case, perhaps."""
    return _head(f"{method} {target} HTTP/{version}", headers)


def http_response(status: int, reason: str, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a response (RFC 9112, section 4)."""
    return _head(f"HTTP/{version} {status} {reason}".rstrip(), headers)


def _head(first_line: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = [first_line.encode("latin-1", "replace"), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def grpc(form: Form, payload: bytes, *, size: int | None = None) -> Message:
    """A message behind gRPC's prefix: whether it is compressed, and its length."""
    size = len(payload) if size is None else size
    return Message(form, struct.pack("!BI", 0, size) + payload[:LOOKED_AT_BYTES], 5 + size, "application/grpc")


def sqlite_row(columns: Sequence[int | float | bytes | str | None]) -> Message:
    """A row as SQLite stores it ("Database File Format", section 2.1): a head with each column's type, then the values.

    An INTEGER PRIMARY KEY is NULL in there: the row's key holds it.
    """
    cells = [_cell(column) for column in columns]
    types = b"".join(_varint(type_) for type_, _ in cells)
    # The head's length counts itself; one byte is enough for it up to 127.
    size = len(types) + 1
    head = _varint(size if size < 0x80 else size + 1) + types
    row = head + b"".join(value for _, value in cells)
    return Message(Form.SQLITE_ROW, row[:LOOKED_AT_BYTES], len(row))


def _cell(value: float | bytes | str | None) -> tuple[int, bytes]:
    match value:
        case None:
            return 0, b""
        case int():
            return _integer(value)
        case float():
            return 7, struct.pack("!d", value)
        case str():
            text = masked(value.encode())
            return 13 + 2 * len(text), text
        case _:
            data = masked(value)
            return 12 + 2 * len(data), data


def _integer(value: int) -> tuple[int, bytes]:
    """The shortest serial type and bytes of an integer: 0 bytes for 0 and 1, else 1, 2, 3, 4, 6 or 8."""
    if value in (0, 1):
        return 8 + value, b""
    for type_, size in enumerate((1, 2, 3, 4, 6, 8), 1):
        if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
            return type_, value.to_bytes(size, "big", signed=True)
    raise ValueError(f"{value} has more than 64 bits")


def _varint(number: int) -> bytes:
    """Seven bits a byte, the highest first; all but the last have the eighth bit."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
