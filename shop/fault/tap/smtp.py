"""SMTP (RFC 5321), line by line: commands and replies; a mail's head, its body counted."""

from __future__ import annotations

from shop.fault.tap.messages import Frame, frame

_MAX_LINE = 64 * 1024
_COMMANDS = ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT", "RSET", "NOOP", "STARTTLS")


class Smtp:
    """One direction."""

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._buffer = bytearray()
        self._mail: list[bytes] | None = None
        self._signing_in = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """The lines and mails that are complete now. Raises `ValueError`."""
        self._buffer += chunk
        if len(self._buffer) > _MAX_LINE and b"\n" not in self._buffer:
            raise ValueError("no SMTP: a line does not end")
        found: list[Frame] = []
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            found += self._line(line)
        return found

    def _line(self, line: bytes) -> list[Frame]:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if self._mail is not None:
            if text != ".":
                self._mail.append(line)
                return []
            mail, self._mail = [*self._mail, line], None
            return [_mail(mail)]
        if self._client and text.upper() == "DATA":
            self._mail = []
        # What signs in may go on in lines of its own, which begin with no command (RFC 4954).
        self._signing_in = self._client and (
            text.upper().startswith("AUTH") or (self._signing_in and not text.upper().startswith(_COMMANDS))
        )
        if self._signing_in:
            return [frame("AUTH ***", len(line))]
        return [frame(text, len(line), content=line)]


def _mail(lines: list[bytes]) -> Frame:
    content = b"".join(lines)
    head = lines[: next((at for at, line in enumerate(lines) if not line.strip()), len(lines))]
    pairs = (line.decode("utf-8", "replace").rstrip("\r\n").partition(":") for line in head)
    fields = [(name, value.strip()) for name, _, value in pairs]
    return frame(f"a mail of {len(content)} bytes", len(content), fields, content=content)
