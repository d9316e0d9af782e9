"""What is said on a connection to a mail server, kept for one mail at a time. It needs no library for mail."""

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
    """As many asterisks, with the ends of lines where they were."""
    return bytes(byte if byte in b"\r\n" else _HIDDEN for byte in data)


class ServerDialogue:
    """The beginning of a dialogue, for each mail, as the server hears it and answers."""

    def __init__(self) -> None:
        self._heard = Lines()
        self._said = Lines()
        self._credentials_asked = False
        self._kept = False

    def hear(self, data: bytes) -> None:
        """Remember what came in; what answers a question for credentials is masked before that."""
        self._heard.add(hidden(data) if self._credentials_asked else data)

    def say(self, reply: bytes) -> None:
        """Remember a reply, unless it is the one to a mail that was kept already: with it the next mail's begins."""
        self._credentials_asked = reply.startswith(str(GO_ON).encode())
        if self._kept:
            self._kept = False
        else:
            self._said.add(reply + b"\r\n")

    def keep(self, span: Span, reply: str) -> None:
        """Put it with a span, the reply to the mail included, which is still to be sent."""
        self._said.add(reply.encode() + b"\r\n")
        capture.received(span, self._heard.message())
        capture.sent(span, self._said.message())
        self._heard, self._said, self._kept = Lines(), Lines(), True
