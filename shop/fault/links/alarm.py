"""RabbitMQ's alarm for want of memory or disk, as its clients see it, made in the middle of their connections.

The server's disk and memory are not ours to fill, and others use it. Under an alarm RabbitMQ goes on with a connection
until that publishes: then it sends `Connection.Blocked`, reads no more of it, and sends `Connection.Unblocked` when
the alarm is over. Connections that only consume notice nothing. (https://www.rabbitmq.com/docs/alarms)
"""

from __future__ import annotations

import asyncio
from typing import Final

_PROTOCOL: Final = b"AMQP"
# Type, channel (2) and size (4); after the content, which may be empty, comes one octet.
_HEAD, _MIN_FRAME = 7, 8
_METHOD_FRAME: Final = b"\x01"
# A method's class and number.
_BASIC_PUBLISH: Final = b"\x00\x3c\x00\x28"
_REASON: Final = b"low on disk (shop fault)"


def _connection_method(method: int, content: bytes = b"") -> bytes:
    """A frame with a method of the class Connection (10), on channel 0."""
    payload = b"\x00\x0a" + method.to_bytes(2, "big") + content
    return b"\x01\x00\x00" + len(payload).to_bytes(4, "big") + payload + b"\xce"


BLOCKED: Final = _connection_method(60, bytes([len(_REASON)]) + _REASON)
UNBLOCKED: Final = _connection_method(61)


class Frames:
    """Frame boundaries in one direction of an AMQP 0-9-1 connection, from its first byte on."""

    def __init__(self) -> None:
        # The beginning of a frame whose size is not known yet, and the bytes that are still to come of one whose is.
        self._head = b""
        self._left = 0

    def passed(self, chunk: bytes) -> None:
        """Follow bytes that were passed on."""
        position = 0
        while position < len(chunk):
            position += self._take(chunk, position)

    def before_publish(self, chunk: bytes) -> int:
        """The number of bytes of the next chunk before a frame of `Basic.Publish`: all, where there is none in it.

        A frame whose first eleven bytes are not all there is not recognized.
        """
        look = Frames()
        look._head, look._left = self._head, self._left
        position = 0
        while position < len(chunk):
            if not look._left and look._begins_publish(chunk, position):
                return position
            position += look._take(chunk, position)
        return position

    def _begins_publish(self, chunk: bytes, position: int) -> bool:
        head = self._head + chunk[position : position + _HEAD + len(_BASIC_PUBLISH) - len(self._head)]
        return head[:1] == _METHOD_FRAME and head[_HEAD:] == _BASIC_PUBLISH

    def _take(self, chunk: bytes, position: int) -> int:
        """Follow some bytes from a position on: of a frame's beginning, or of its rest; returns how many."""
        wanted = self._left or _MIN_FRAME - len(self._head)
        taken = chunk[position : position + wanted]
        if self._left:
            self._left -= len(taken)
            return len(taken)
        self._head += taken
        if len(self._head) == _MIN_FRAME:
            # The protocol's header, with which a connection begins, is as long as the shortest frame.
            size = 0 if self._head[:4] == _PROTOCOL else int.from_bytes(self._head[3:_HEAD], "big")
            self._head, self._left = b"", size
        return len(taken)


class Answers(Frames):
    """The direction of the server's answers, to which something can be added between two frames."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._writer = writer
        self._words = b""

    def passed(self, chunk: bytes) -> None:
        """Follow bytes that were passed on, and write what has waited for the end of a frame."""
        super().passed(chunk)
        if self._words:
            self.write(b"")

    def write(self, words: bytes) -> None:
        """Write to the client as soon as no frame is under way."""
        self._words += words
        if not self._left and not self._head and not self._writer.is_closing():
            self._writer.write(self._words)
            self._words = b""
