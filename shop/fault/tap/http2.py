"""HTTP/2 (RFC 9113) with HPACK (RFC 7541), as gRPC speaks it."""

from __future__ import annotations

from hpack import Decoder, HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, SettingsFrame
from hyperframe.frame import Frame as Http2Frame

from shop.fault.tap.messages import Frame, frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = 9
_MAX_FRAME = 1 << 24


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
            found.append(frame("connection preface", len(PREFACE)))
        while not self._preface and len(self._buffer) >= _HEAD:
            try:
                parsed, length = Http2Frame.parse_frame_header(memoryview(bytes(self._buffer[:_HEAD])))
                if len(self._buffer) < _HEAD + length:
                    break
                body = self._take(_HEAD + length)[_HEAD:]
                parsed.parse_body(memoryview(body))
                found.append(self._frame(parsed, _HEAD + length))
            except (HyperframeError, HPACKError) as error:
                raise ValueError(f"no HTTP/2: {error}") from error
        return found

    def _frame(self, parsed: Http2Frame, size: int) -> Frame:
        what = f"{type(parsed).__name__.removesuffix('Frame').upper()} stream {parsed.stream_id}"
        flags = ",".join(sorted(parsed.flags))
        if isinstance(parsed, HeadersFrame | ContinuationFrame):
            self._block += parsed.data
            if "END_HEADERS" not in parsed.flags:
                return frame(f"{what} ({flags or 'continued'})", size)
            fields = [(_text(name), _text(value)) for name, value in self._hpack.decode(self._block, raw=True)]
            self._block = b""
            return frame(f"{what} ({flags})", size, fields)
        if isinstance(parsed, SettingsFrame):
            return frame(what, size, [(str(key), str(value)) for key, value in parsed.settings.items()])
        if isinstance(parsed, DataFrame):
            return frame(
                f"{what} ({len(parsed.data)} bytes{', END_STREAM' if 'END_STREAM' in parsed.flags else ''})", size
            )
        return frame(f"{what} ({flags})" if flags else what, size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
