"""The dialogue with a mail server (RFC 5321): what the client said, and what the server answered."""

from __future__ import annotations

from typing import Any

import aiosmtplib
from aiosmtplib.response import SMTPResponse

from chassis.observability.capture import capture
from chassis.observability.capture.masking import masked
from chassis.observability.capture.smtp_lines import GO_ON, Lines, hidden
from chassis.observability.tracing import Span


class CapturedSmtp(aiosmtplib.SMTP):
    """aiosmtplib's client, which remembers the beginning of its dialogue for each mail."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._said = Lines()
        self._heard = Lines()
        self._credentials_asked = False

    def keep(self, span: Span) -> None:
        """Put what was said with a span, and begin anew: the connection may carry the next mail."""
        capture.sent(span, self._said.message())
        capture.received(span, self._heard.message())
        self._said, self._heard = Lines(), Lines()

    async def _create_connection(self, timeout: float | None) -> SMTPResponse:
        greeting = await super()._create_connection(timeout)
        self._hear(greeting)
        return greeting

    async def execute_command(self, *args: bytes, **options: Any) -> SMTPResponse:
        line = b" ".join(args)
        secret = self._credentials_asked
        self._said.add((hidden(line) if secret else masked(line)) + b"\r\n")
        response = await super().execute_command(*args, **options)
        self._credentials_asked = response.code == GO_ON
        self._hear(response)
        return response

    async def data(self, message: str | bytes, /, **options: Any) -> SMTPResponse:
        mail = message.encode() if isinstance(message, str) else message
        self._said.add(b"DATA\r\n" + mail.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        response = await super().data(message, **options)
        self._hear(response)
        return response

    def _hear(self, response: SMTPResponse) -> None:
        *before, last = response.message.split("\n")
        lines = [f"{response.code}-{line}\r\n" for line in before] + [f"{response.code} {last}\r\n"]
        self._heard.add("".join(lines).encode(errors="replace"))
