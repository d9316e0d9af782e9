"""The way in: a captured message's parts and its meaning, whatever protocol it is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor

from chassis.observability.capture.messages import Form
from console.decoders import amqp, http, kafka, protobuf, smtp, sqlite_row, websocket
from console.decoders.parts import CutOffError, Part, Reader, writable
from console.domain import Captured

_READINGS: dict[str, Callable[[bytes], tuple[list[Part], Any]]] = {
    Form.AMQP: amqp.read,
    Form.KAFKA: kafka.read,
    Form.SQLITE_ROW: sqlite_row.read,
    Form.WEBSOCKET: websocket.read,
    Form.EVENT_STREAM: websocket.read_event_stream,
    Form.SMTP: smtp.read,
}


def read(message: Captured, schema: Descriptor | None) -> tuple[list[Part], Any]:
    """The parts, which cover all bytes in order, and what they mean as JSON; `schema` is for protobuf."""
    parts, meaning = _read(message, schema)
    return parts, writable(meaning, message.content)


def _read(message: Captured, schema: Descriptor | None) -> tuple[list[Part], Any]:
    content = message.content
    if (reading := _READINGS.get(message.form)) is not None:
        return reading(content)
    match message.form:
        case Form.HTTP_REQUEST | Form.HTTP_RESPONSE:
            return http.parts(content), http.decoded(content, message.content_type)
        case Form.GRPC:
            return _parts(content, schema, framed=True), protobuf.decoded(content[protobuf.PREFIX_BYTES :], schema)
        case Form.GRPC_STATUS:
            return _parts(content, protobuf.STATUS, framed=False), protobuf.decoded(content, protobuf.STATUS)
        case _:
            return ([Part("bytes", 0, len(content))] if content else []), None


def _parts(content: bytes, schema: Descriptor | None, *, framed: bool) -> list[Part]:
    reader = Reader(content)
    try:
        if framed:
            protobuf.read_grpc(reader, schema)
        else:
            protobuf.read_fields(reader, schema, len(content), "")
    except CutOffError:
        reader.end("the rest", "cut off")
    return reader.parts
