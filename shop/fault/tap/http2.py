"""HTTP/2 (RFC 9113) with HPACK (RFC 7541), as gRPC speaks it."""

from __future__ import annotations

from collections.abc import Sequence

from hpack import Decoder, HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, SettingsFrame
from hyperframe.frame import Frame as Http2Frame

from chassis.observability.capture.masking import masked_value
from shop.fault.tap.hpack_fields import written
from shop.fault.tap.messages import MAX_VALUE, Frame, Piece, frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = 9
# Bytes of a setting (RFC 9113, 6.5.1), and of a priority in HEADERS (6.2).
_SETTING, _PRIORITY = 6, 5
# What is not taken apart here.
PAYLOAD = "payload"


class Http2:
    """One direction; it has to be read from its first byte, for HPACK's table is in what went before."""

    def __init__(self, *, client: bool) -> None:
        self._buffer = bytearray()
        self._preface = client
        self._hpack = Decoder()
        self._block = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that are complete now. Raises `ValueError`."""
        self._buffer += chunk
        found: list[Frame] = []
        if self._preface and len(self._buffer) >= len(PREFACE):
            self._take(len(PREFACE))
            self._preface = False
            found.append(frame("connection preface", len(PREFACE), content=PREFACE))
        while not self._preface and len(self._buffer) >= _HEAD:
            try:
                parsed, length = Http2Frame.parse_frame_header(memoryview(bytes(self._buffer[:_HEAD])))
                if len(self._buffer) < _HEAD + length:
                    break
                taken = self._take(_HEAD + length)
                parsed.parse_body(memoryview(taken[_HEAD:]))
                found.append(self._frame(parsed, taken))
            except (HyperframeError, HPACKError) as error:
                raise ValueError(f"no HTTP/2: {error}") from error
        return found

    def _frame(self, parsed: Http2Frame, taken: bytes) -> Frame:
        kind = type(parsed).__name__.removesuffix("Frame").upper()
        what, size, stream = f"{kind} stream {parsed.stream_id}", len(taken), f"stream {parsed.stream_id}"
        flags = ",".join(sorted(parsed.flags))
        pieces = _head_pieces(kind, flags, parsed.stream_id, size)
        if isinstance(parsed, HeadersFrame | ContinuationFrame):
            return self._headers(parsed, taken, f"{what} ({flags or 'continued'})", pieces)
        if isinstance(parsed, SettingsFrame):
            settings = [(str(key), str(value)) for key, value in parsed.settings.items()]
            starts = range(_HEAD, size, _SETTING)
            pieces += [
                Piece(f"setting {key}", at, at + _SETTING, value)
                for at, (key, value) in zip(starts, settings, strict=False)
            ]
            return frame(what, size, settings, stream=stream, content=taken, pieces=pieces)
        if size > _HEAD:
            pieces.append(Piece(PAYLOAD, _HEAD, size, f"{size - _HEAD} bytes"))
        if isinstance(parsed, DataFrame):
            end = ", END_STREAM" if "END_STREAM" in parsed.flags else ""
            what = f"{what} ({len(parsed.data)} bytes{end})"
        elif flags:
            what = f"{what} ({flags})"
        return frame(what, size, stream=stream, content=taken, pieces=pieces)

    def _headers(self, parsed: HeadersFrame | ContinuationFrame, taken: bytes, what: str, pieces: list[Piece]) -> Frame:
        """A frame of a header block. One that is spread over frames is decoded in the last; no bytes are kept of it."""
        self._block += parsed.data
        fields: list[tuple[str, str]] = []
        content = taken[:_HEAD]
        if "END_HEADERS" in parsed.flags:
            block, self._block = self._block, b""
            fields = [(_text(name), _text(value)) for name, value in self._hpack.decode(block, raw=True)]
            if block == parsed.data:
                start = _HEAD + ("PADDED" in parsed.flags) + _PRIORITY * ("PRIORITY" in parsed.flags)
                content, found = _head_fields(taken, start, block, fields)
                pieces = [*pieces, *found]
        return frame(what, len(taken), fields, stream=f"stream {parsed.stream_id}", content=content, pieces=pieces)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _head_pieces(kind: str, flags: str, stream: int, size: int) -> list[Piece]:
    """The nine bytes before each frame's payload (RFC 9113, 4.1)."""
    return [
        Piece("frame length", 0, 3, f"{size - _HEAD} bytes follow this head"),
        Piece("frame type", 3, 4, kind),
        Piece("frame flags", 4, 5, flags or "none"),
        Piece("stream", 5, _HEAD, f"{stream}: {'one call' if stream else 'the connection itself'}"),
    ]


def _head_fields(
    taken: bytes, offset: int, block: bytes, fields: Sequence[tuple[str, str]]
) -> tuple[bytes, list[Piece]]:
    """The frame with the literal values of secret fields as asterisks, and a piece for each field of its block."""
    content, pieces, left = bytearray(taken), [], iter(fields)
    if offset > _HEAD:
        pieces.append(Piece("padding's length and priority", _HEAD, offset))
    for each in written(block):
        start, end = offset + each.start, offset + each.end
        if not each.is_field:
            pieces.append(Piece("HPACK table size", start, end, each.how))
            continue
        name, value = next(left)
        shown = masked_value(name, value)
        if shown != value:
            content[offset + each.value : end] = b"*" * (each.end - each.value)
        pieces.append(Piece(f"header {name}", start, end, f"{shown[:MAX_VALUE]} ({each.how}: {end - start} bytes)"))
    if offset + len(block) < len(taken):
        pieces.append(Piece("padding", offset + len(block), len(taken)))
    return bytes(content), pieces
