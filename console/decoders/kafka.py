"""A record of Kafka's message format version 2 (protocol guide, "Record"): key, value, headers; sizes are varints."""

from __future__ import annotations

from typing import Any

from console.decoders.http import body_decoded
from console.decoders.parts import CutOffError, Part, Reader, readable

_MAX_VARINT = 10
_NO_BYTES = -1


def read(content: bytes) -> tuple[list[Part], Any]:
    """The parts, and the key, headers and value; as much as there is of what was cut off."""
    record = _Record(Reader(content))
    try:
        record.read()
    except CutOffError:
        record.reader.end("the rest", "cut off")
    record.reader.end("the rest")
    return record.reader.parts, record.decoded()


class _Record:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._key: str | None = None
        self._headers: dict[str, str | None] = {}
        self._value = b""

    def decoded(self) -> Any:
        content_type = self._headers.get("content-type") or "application/json"
        return {"key": self._key, "headers": self._headers, "value": body_decoded(self._value, content_type)}

    def read(self) -> None:
        """The whole record. Raises `CutOffError`."""
        reader = self.reader
        self._varint("size of the record", "{} bytes")
        reader.number(1, "attributes", "{}: none are defined")
        self._varint("timestamp delta", "{} ms after the batch's first")
        self._varint("offset delta", "{}: its place in the batch")
        key = self._sized("key", "the subject, which decides the partition")
        self._key = None if key is None else readable(key)
        # What was cut off has its beginning all the same.
        size = self._varint("length of the value", "{} bytes")
        self._value = reader.rest[: max(0, size)]
        if size != _NO_BYTES:
            reader.text(size, "value")
        for _ in range(self._varint("number of headers", "{}")):
            name = readable(self._sized("header's name", "") or b"")
            value = self._sized(f"header {name}", "")
            self._headers[name] = None if value is None else readable(value)

    def _sized(self, name: str, meaning: str) -> bytes | None:
        """Bytes behind their length, None for none. Raises `CutOffError`."""
        size = self._varint(f"length of the {name}", "{} bytes")
        if size == _NO_BYTES:
            return None
        shown = readable(self.reader.rest[: max(0, size)])
        return self.reader.take(size, name, f"{shown}: {meaning}" if meaning else shown)

    def _varint(self, name: str, meaning: str) -> int:
        """A zigzag number in base 128, the lowest group first. Raises `CutOffError`."""
        raw = 0
        for at, byte in enumerate(self.reader.rest[:_MAX_VARINT]):
            raw |= (byte & 0x7F) << 7 * at
            if not byte & 0x80:
                value = raw >> 1 ^ -(raw & 1)
                self.reader.take(at + 1, name, meaning.format(value))
                return value
        self.reader.end(name, "cut off")
        raise CutOffError(name)
