"""AMQP 0-9-1 frames (its specification, 4.2): the method, the properties with their headers, the body."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pamqp import decode
from pamqp.commands import Basic

from console.decoders.http import body_decoded
from console.decoders.parts import CutOffError, Part, Reader, readable

_METHOD, _HEADER, _BODY = 1, 2, 3
_KINDS = {_METHOD: "method", _HEADER: "content header", _BODY: "body"}
_Decoder = Callable[[bytes], tuple[int, Any]]
_DELIVER, _PUBLISH = (60, 60), (60, 40)


def read(content: bytes) -> tuple[list[Part], Any]:
    """The parts, and the properties with the body; as much as there is of what was cut off."""
    frames = _Frames(Reader(content))
    try:
        while frames.reader.at < len(content):
            frames.read_one()
    except CutOffError:
        frames.reader.end("the rest", "cut off")
    return frames.reader.parts, frames.decoded()


class _Frames:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._facts: dict[str, Any] = {}
        self._properties: dict[str, Any] = {}
        self._body = b""

    def decoded(self) -> Any:
        content_type = str(self._properties.get("content_type", "application/json"))
        return {**self._facts, "properties": self._properties, "body": body_decoded(self._body, content_type)}

    def read_one(self) -> None:
        """One frame. Raises `CutOffError`."""
        reader = self.reader
        kind = reader.number(1, "frame type", "{}")
        reader.parts[-1] = Part("frame type", reader.at - 1, reader.at, f"{kind}: {_KINDS.get(kind, 'another')}")
        reader.number(2, "channel")
        size = reader.number(4, "frame size", "{} bytes")
        end = reader.at + size
        if kind == _METHOD:
            self._method(end)
        elif kind == _HEADER:
            self._header(end)
        else:
            self._body += reader.rest[:size]
            reader.text(size, "body")
        reader.take(end - reader.at, "the rest of the frame")
        reader.take(1, "frame end", "always 206")

    def _method(self, end: int) -> None:
        reader = self.reader
        which = (reader.number(2, "class", "{}: Basic"), reader.number(2, "method", "{}"))
        if which == _PUBLISH:
            self._facts["method"] = "Basic.Publish"
            reader.take(2, "reserved")
        elif which == _DELIVER:
            self._facts["method"] = "Basic.Deliver"
            self._short("consumer tag")
            self._facts["delivery_tag"] = reader.number(8, "delivery tag", "{}: what an acknowledgement names")
            self._facts["redelivered"] = bool(reader.number(1, "redelivered"))
        else:
            return
        self._facts["exchange"] = self._short("exchange")
        self._facts["routing_key"] = self._short("routing key")
        if reader.at < end:
            reader.number(1, "flags", "{}: 1 is mandatory, it comes back if no queue takes it")

    def _short(self, name: str) -> str:
        size = self.reader.number(1, f"length of the {name}")
        return self.reader.text(size, name)

    def _header(self, end: int) -> None:
        reader = self.reader
        reader.number(2, "class", "{}: Basic")
        reader.number(2, "weight")
        reader.number(8, "body size", "{} bytes")
        flags = reader.number(2, "property flags", "{:#018b}: which properties follow")
        for name in Basic.Properties.attributes():
            if reader.at < end and flags & Basic.Properties.flags[name]:
                self._property(name)

    def _property(self, name: str) -> None:
        if name == "headers":
            self._table()
            return
        size, value = self._decoded(_SIMPLE[Basic.Properties.amqp_type(name)], self.reader.rest, f"property {name}")
        self.reader.take(size, f"property {name}", str(value))
        self._properties[name] = str(value) if not isinstance(value, int | str) else value

    def _decoded(self, decoder: _Decoder, data: bytes, name: str) -> tuple[int, Any]:
        """A value and how many bytes it has. Raises `CutOffError` for what is none."""
        try:
            return decoder(data)
        except (ValueError, LookupError, TypeError, OverflowError, struct.error) as error:
            self.reader.end(name, "not to be read")
            raise CutOffError(name) from error

    def _table(self) -> None:
        reader = self.reader
        size = reader.number(4, "size of the headers", "{} bytes")
        end = reader.at + size
        headers = self._properties["headers"] = {}
        while reader.at < end:
            length = int.from_bytes(reader.rest[:1], "big")
            name = readable(reader.rest[1 : 1 + length])
            consumed, value = self._decoded(decode.embedded_value, reader.rest[1 + length :], f"header {name}")
            reader.take(1 + length + consumed, f"header {name}", readable(str(value).encode()))
            headers[name] = value if isinstance(value, int | str | bool | float) else str(value)


_SIMPLE: dict[str, _Decoder] = {"shortstr": decode.short_str, "octet": decode.octet, "timestamp": decode.timestamp}
