"""The lines of a connection to a mail server, kept for one mail at a time. It needs no library for mail."""

from __future__ import annotations

from chassis.observability.capture import capture
from chassis.observability.capture.messages import LOOKED_AT_BYTES, Form, Message
from chassis.observability.tracing import Span

_HIDDEN = ord("*")
GO_ON = 334  # a server requests more credentials (RFC 4954)


class Lines:
    """The beginning of one side's lines, and their size in all."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._size = 0

    def add(self, lines: bytes) -> None:
        self._size += len(lines)
        self._kept += lines[: max(0, LOOKED_AT_BYTES - len(self._kept))]

    def message(self) -> Message:
        return Message(Form.SMTP, bytes(self._kept), self._size)


def hidden(data: bytes) -> bytes:
    """Replace each byte by an asterisk, except the ends of lines."""
    return bytes(byte if byte in b"\r\n" else _HIDDEN for byte in data)


class ServerDialogue:
    """The beginning of a dialogue, for each mail, as the server receives and answers it."""

    def __init__(self) -> None:
        self._received = Lines()
        self._sent = Lines()
        self._credentials_due = False
        self._kept = False

    def received(self, data: bytes) -> None:
        """Keep what was received; the answer to a request for credentials is masked before that."""
        self._received.add(hidden(data) if self._credentials_due else data)

    def sent(self, reply: bytes) -> None:
        """Keep a reply, unless it is the one to a mail that was kept already: with it the next mail's begins."""
        self._credentials_due = reply.startswith(str(GO_ON).encode())
        if self._kept:
            self._kept = False
        else:
            self._sent.add(reply + b"\r\n")

    def keep(self, span: Span, reply: str) -> None:
        """Put it with a span, the reply to the mail included, which is still to be sent."""
        self._sent.add(reply.encode() + b"\r\n")
        capture.received(span, self._received.message())
        capture.sent(span, self._sent.message())
        self._received, self._sent, self._kept = Lines(), Lines(), True
