"""HTTP/1.1 (RFC 9112): heads are shown, bodies counted; and WebSocket frames (RFC 6455) after an upgrade."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from chassis.observability.capture.masking import masked as without_secrets
from shop.fault.tap.messages import Frame, frame

METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"HTTP/1.")
_MAX_HEAD = 64 * 1024
# Of whole messages and control frames of WebSocket.
FIRST_BYTES = (b"\x81", b"\x82", b"\x88", b"\x89", b"\x8a")
_OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


class Http1:
    """One direction. `upgraded` is set by the direction that sees the 101.

    Requests and answers are counted, so that an exchange has the same number in both directions. `unanswered` holds
    the methods of the requests whose answers are still to come, for the other direction: HEAD's has no body.
    """

    def __init__(self, upgraded: list[bool], unanswered: deque[str]) -> None:
        self._unanswered = unanswered
        self._buffer = bytearray()
        self._upgraded = upgraded
        # Bytes of a body that are still to come; None while it comes in chunks.
        self._left: int | None = 0
        self._websocket = WebSocket()
        self._count = 0
        self._interim = False
        # Whether nothing has come yet of the body that is to come.
        self._whole = True

    def feed(self, chunk: bytes) -> list[Frame]:
        """Heads, bodies and chunks that are complete now. Raises `ValueError`."""
        return [replace(each, stream=stream) for stream, each in self._frames(chunk)]

    def _frames(self, chunk: bytes) -> Iterator[tuple[str, Frame]]:
        self._buffer += chunk
        while self._buffer:
            if self._upgraded[0] and self._left == 0:
                frames = self._websocket.feed(bytes(self._buffer))
                self._buffer.clear()
                yield from ((f"exchange {self._count}", each) for each in frames)
            elif self._left:
                yield f"exchange {self._count}", self._body(self._left)
            else:
                made = self._chunk() if self._left is None else self._head()
                if made is None:
                    break
                yield f"exchange {self._count}", made

    def _body(self, left: int) -> Frame:
        """A body so far. In one of several pieces, a secret may be in two: its bytes are only counted."""
        size = min(left, len(self._buffer))
        whole = size == left and self._whole
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._left, self._whole = left - size, False
        return frame(f"body, {size} bytes", size, content=taken if whole else b"")

    def _head(self) -> Frame | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise ValueError("no HTTP/1.1: its head does not end")
            return None
        taken = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        first, *lines = taken[:end].decode("latin-1").split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        named = {name.lower(): value for name, value in fields}
        if first.startswith("HTTP/1.1 101"):
            self._upgraded[0] = True
        bodiless = self._method_of(first) == "HEAD" or first.startswith(("HTTP/1.1 204", "HTTP/1.1 304", "HTTP/1.1 1"))
        self._whole = True
        # An interim answer (1xx) and the one that follows are one exchange.
        self._count += not self._interim
        self._interim = first.startswith("HTTP/1.1 1") and not self._upgraded[0]
        if bodiless:
            self._left = 0
        elif named.get("transfer-encoding", "").lower() == "chunked":
            self._left = None
        else:
            length = named.get("content-length", "0")
            self._left = int(length) if length.isdecimal() else 0
        return frame(first, end + 4, fields, content=taken)

    def _method_of(self, first: str) -> str:
        """The method that a final answer is to; empty for an interim one. A request's is noted for its answer."""
        if not first.startswith("HTTP/1."):
            self._unanswered.append(first.partition(" ")[0])
        elif self._unanswered and (self._upgraded[0] or not first.startswith("HTTP/1.1 1")):
            return self._unanswered.popleft()
        return ""

    def _chunk(self) -> Frame | None:
        line_end = self._buffer.find(b"\r\n")
        if line_end < 0:
            return None
        size = int(bytes(self._buffer[:line_end]).partition(b";")[0], 16)
        if size < 0:
            raise ValueError("no HTTP/1.1: a chunk's size is negative")
        whole = line_end + 2 + size + 2 if size else self._trailers_end(line_end)
        if whole is None or len(self._buffer) < whole:
            return None
        taken = bytes(self._buffer[:whole])
        del self._buffer[:whole]
        if not size:
            self._left = 0
        return frame(f"chunk, {size} bytes" if size else "last chunk", whole, content=taken)

    def _trailers_end(self, line_end: int) -> int | None:
        """The end of the empty line after the trailer fields, which may follow the last chunk's size at once."""
        found = self._buffer.find(b"\r\n\r\n", line_end)
        if found < 0 and len(self._buffer) > _MAX_HEAD:
            raise ValueError("no HTTP/1.1: its trailers do not end")
        return None if found < 0 else found + 4


class WebSocket:
    """One direction after the upgrade."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that are complete now."""
        self._buffer += chunk
        found = []
        while (made := self._frame()) is not None:
            found.append(made)
        return found

    def _frame(self) -> Frame | None:
        if len(self._buffer) < 2:
            return None
        opcode, length = self._buffer[0] & 0x0F, self._buffer[1] & 0x7F
        masked = bool(self._buffer[1] & 0x80)
        extended = {126: 2, 127: 8}.get(length, 0)
        head = 2 + extended + (4 if masked else 0)
        if len(self._buffer) < head:
            return None
        if extended:
            length = int.from_bytes(self._buffer[2 : 2 + extended], "big")
        if len(self._buffer) < head + length:
            return None
        taken = bytes(self._buffer[: head + length])
        del self._buffer[: head + length]
        if masked:
            taken = taken[:head] + _xor(
                without_secrets(_xor(taken[head:], taken[head - 4 : head])), taken[head - 4 : head]
            )
        return frame(
            f"WebSocket {_OPCODES.get(opcode, opcode)} ({'masked, ' if masked else ''}{length} bytes)",
            head + length,
            content=taken,
        )


def _xor(payload: bytes, key: bytes) -> bytes:
    """A payload with its mask put on or taken off (RFC 6455, 5.3)."""
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
