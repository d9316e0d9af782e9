"""HTTP/1.1 (RFC 9112): heads are shown, bodies counted; and WebSocket frames (RFC 6455) after an upgrade."""

from __future__ import annotations

from shop.fault.tap.messages import Frame, frame

METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"HTTP/1.")
_MAX_HEAD = 64 * 1024
_OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


class Http1:
    """One direction. `upgraded` is set by whichever direction sees the 101."""

    def __init__(self, upgraded: list[bool]) -> None:
        self._buffer = bytearray()
        self._upgraded = upgraded
        # Bytes of a body that are still to come; None while it comes in chunks.
        self._left: int | None = 0
        self._websocket = WebSocket()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Heads, bodies and chunks that are complete now. Raises `ValueError`."""
        self._buffer += chunk
        found: list[Frame] = []
        while self._buffer:
            if self._upgraded[0] and self._left == 0:
                found += self._websocket.feed(bytes(self._buffer))
                self._buffer.clear()
            elif self._left:
                size = min(self._left, len(self._buffer))
                self._left -= size
                del self._buffer[:size]
                found.append(frame(f"body, {size} bytes", size))
            else:
                made = self._chunk() if self._left is None else self._head()
                if made is None:
                    break
                found.append(made)
        return found

    def _head(self) -> Frame | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise ValueError("no HTTP/1.1: its head does not end")
            return None
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        named = {name.lower(): value for name, value in fields}
        if first.startswith("HTTP/1.1 101"):
            self._upgraded[0] = True
        bodiless = first.startswith(("HTTP/1.1 204", "HTTP/1.1 304", "HTTP/1.1 1"))
        if named.get("transfer-encoding", "").lower() == "chunked":
            self._left = None
        elif not bodiless:
            length = named.get("content-length", "0")
            self._left = int(length) if length.isdecimal() else 0
        return frame(first, end + 4, fields)

    def _chunk(self) -> Frame | None:
        line_end = self._buffer.find(b"\r\n")
        if line_end < 0:
            return None
        size = int(bytes(self._buffer[:line_end]).partition(b";")[0], 16)
        whole = line_end + 2 + size + 2
        if len(self._buffer) < whole:
            return None
        del self._buffer[:whole]
        if not size:
            self._left = 0
        return frame(f"chunk, {size} bytes" if size else "last chunk", whole)


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
        del self._buffer[: head + length]
        return frame(
            f"WebSocket {_OPCODES.get(opcode, opcode)} ({'masked, ' if masked else ''}{length} bytes)", head + length
        )
