"""Masking (RFC 6455, 5.1): a client masks its frames, or the server closes. aiohttp lets it pass if it does not."""

from __future__ import annotations

from typing import Any

from aiohttp import WebSocketError, web

from services.notifier.domain import PROTOCOL_ERROR

_MASKED = 0x80
_LENGTH = 0x7F
_EXTENDED_LENGTH = {126: 2, 127: 8}  # bytes after the first two (5.2)
_MASKING_KEY = 4


class MaskedWebSocket(web.WebSocketResponse):
    """A WebSocket that is closed 1002 at the first unmasked frame."""

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: Any) -> None:
        connection: Any = request.protocol  # aiohttp has no hook for another parser
        # Frames that came together with the handshake would be parsed unchecked.
        early, connection._message_tail = connection._message_tail, b""  # noqa: SLF001 - see above
        super()._post_start(request, protocol, writer)
        checked = _MaskedFrames(self._parser, self._reader)
        connection._payload_parser = checked  # noqa: SLF001 - see above
        if early:
            checked.feed_data(early)


class _MaskedFrames:
    """Stands before the library's parser and follows the bytes from one frame's header to the next."""

    __slots__ = ("_header", "_messages", "_parser", "_payload_left")

    def __init__(self, parser: Any, messages: Any) -> None:
        self._parser = parser
        self._messages = messages
        self._header = b""
        self._payload_left = 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Parse what may be parsed; True when the connection has to end."""
        valid = self._masked(data)
        result: tuple[bool, bytes] = self._parser.feed_data(data[:valid])
        if valid == len(data):
            return result
        self._messages.set_exception(WebSocketError(PROTOCOL_ERROR, "a client must mask its frames"))
        return True, b""

    def feed_eof(self) -> None:
        self._parser.feed_eof()

    def _masked(self, data: bytes) -> int:
        """Number of bytes before the first header of an unmasked frame."""
        at = self._skip_payload(data, 0)
        while at < len(data):
            part = data[at : at + _header_size(self._header) - len(self._header)]
            self._header += part
            if len(self._header) > 1 and not self._header[1] & _MASKED:
                return at
            at += len(part)
            if len(self._header) == _header_size(self._header):
                self._payload_left = _payload_size(self._header)
                self._header = b""
                at = self._skip_payload(data, at)
        return at

    def _skip_payload(self, data: bytes, at: int) -> int:
        skipped = min(self._payload_left, len(data) - at)
        self._payload_left -= skipped
        return at + skipped


def _header_size(header: bytes) -> int:
    """The bytes of a header, as far as the ones that are there show."""
    if len(header) < 2:
        return 2
    return 2 + _EXTENDED_LENGTH.get(header[1] & _LENGTH, 0) + _MASKING_KEY


def _payload_size(header: bytes) -> int:
    """The bytes of payload that a whole header announces."""
    length = header[1] & _LENGTH
    extended = _EXTENDED_LENGTH.get(length, 0)
    return int.from_bytes(header[2 : 2 + extended]) if extended else length
