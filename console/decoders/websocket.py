"""WebSocket frames (RFC 6455, 5.2) and the blocks of event streams (WHATWG HTML, 9.2)."""

from __future__ import annotations

from typing import Any

from console.decoders.http import json_or_text
from console.decoders.parts import CutOffError, Part, Reader, lines, readable

_OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_EXTENDED = {126: 2, 127: 8}


def read(content: bytes) -> tuple[list[Part], Any]:
    """The parts of a frame, and its payload."""
    reader = Reader(content)
    payload = b""
    try:
        first = content[0] if content else 0
        final = "the last" if first & 0x80 else "not the last"
        reader.take(1, "FIN and opcode", f"{final} frame of a message, {_OPCODES.get(first & 0xF, 'reserved')}")
        second = content[1] if len(content) > 1 else 0
        masked, length = bool(second & 0x80), second & 0x7F
        reader.take(1, "MASK and length", f"{'masked' if masked else 'not masked, as a server sends'}, {length}")
        if size := _EXTENDED.get(length):
            length = reader.number(size, "extended length", "{} bytes")
        key = reader.take(4, "masking key") if masked else b""
        payload = reader.rest[:length]
        if key:
            payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
        reader.end("payload", readable(payload))
    except CutOffError:
        return reader.parts, None
    return reader.parts, json_or_text(payload)


def read_event_stream(content: bytes) -> tuple[list[Part], Any]:
    """The lines of a block, its chunk's size perhaps before them, and its fields."""
    parts: list[Part] = []
    fields: dict[str, Any] = {}
    for start, end, line in lines(content):
        name, colon, value = line.partition(b":")
        if not line:
            part = Part("end of the block", start, end, "an empty line: the event is complete")
        elif not colon and start == 0:
            part = Part("chunk size", start, end, "hexadecimal (RFC 9112, 7.1)")
        else:
            text = value.removeprefix(b" ")
            part = Part(f"field {readable(name)}" if name else "comment", start, end, readable(text))
            fields[readable(name)] = json_or_text(text) if name == b"data" else readable(text)
        parts.append(part)
    return parts, fields
