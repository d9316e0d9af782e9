"""The dialogue with a mail server (RFC 5321): what the client sent, and what the server answered."""

from __future__ import annotations

from typing import Any

import aiosmtplib
from aiosmtplib.response import SMTPResponse

from chassis.observability.capture import capture
from chassis.observability.capture.masking import masked
from chassis.observability.capture.smtp_lines import GO_ON, Lines, hidden
from chassis.observability.tracing import Span


class CapturedSmtp(aiosmtplib.SMTP):
    """aiosmtplib's client, which keeps the beginning of its dialogue for each mail."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sent = Lines()
        self._received = Lines()
        self._credentials_due = False

    def keep(self, span: Span) -> None:
        """Put what was sent and received with a span, and begin anew: the connection may carry the next mail."""
        capture.sent(span, self._sent.message())
        capture.received(span, self._received.message())
        self._sent, self._received = Lines(), Lines()

    async def _create_connection(self, timeout: float | None) -> SMTPResponse:
        greeting = await super()._create_connection(timeout)
        self._record_response(greeting)
        return greeting

    async def execute_command(self, *args: bytes, **options: Any) -> SMTPResponse:
        line = b" ".join(args)
        secret = self._credentials_due
        self._sent.add((hidden(line) if secret else masked(line)) + b"\r\n")
        response = await super().execute_command(*args, **options)
        self._credentials_due = response.code == GO_ON
        self._record_response(response)
        return response

    async def data(self, message: str | bytes, /, **options: Any) -> SMTPResponse:
        mail = message.encode() if isinstance(message, str) else message
        self._sent.add(b"DATA\r\n" + mail.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        response = await super().data(message, **options)
        self._record_response(response)
        return response

    def _record_response(self, response: SMTPResponse) -> None:
        *before, last = response.message.split("\n")
        lines = [f"{response.code}-{line}\r\n" for line in before] + [f"{response.code} {last}\r\n"]
        self._received.add("".join(lines).encode(errors="replace"))
