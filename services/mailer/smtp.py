"""Mails over SMTP (RFC 5321)."""

from __future__ import annotations

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from chassis.errors import Kind, ShopError, unavailable
from chassis.telemetry import SpanKind, Telemetry
from services.mailer.domain import Mail

_SENDER = Address("Polyglot Shop", "shop", "shop.test")
_TIMEOUT = 10.0
# RFC 5321, 4.2.1: what is refused by a 5yz will be refused again, what by a 4yz may not.
_PERMANENT = 500


class SmtpPostman:
    def __init__(self, address: str, telemetry: Telemetry, *, username: str = "", password: str = "") -> None:
        """`address` is host:port; a server that offers STARTTLS gets it, and the credentials if there are any."""
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._telemetry = telemetry
        self._username = username or None
        self._password = password or None

    async def send(self, mail: Mail) -> None:
        message = _message(mail)
        size = len(message.as_bytes())
        with self._telemetry.span(
            "SMTP send",
            SpanKind.CLIENT,
            protocol="SMTP",
            peer="smtp_sink",
            attributes={"shop.bytes.sent": size, "server.address": self._host, "server.port": self._port},
        ):
            try:
                await aiosmtplib.send(
                    message,
                    hostname=self._host,
                    port=self._port,
                    username=self._username,
                    password=self._password,
                    timeout=_TIMEOUT,
                )
            except (aiosmtplib.SMTPException, OSError) as error:
                raise _translated(error) from error


def _message(mail: Mail) -> EmailMessage:
    """The mail in the Internet Message Format (RFC 5322). Raises MAIL_REFUSED for an address that cannot be one."""
    message = EmailMessage()
    try:
        message["To"] = Address(mail.recipient.name, addr_spec=mail.recipient.email)
    except (ValueError, MessageError) as error:
        raise _refused(f"{mail.recipient.email!r} is no mail address") from error
    message["From"] = _SENDER
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.written_at)
    message["Message-ID"] = mail.message_id
    message["X-Shop-Order-Id"] = mail.order_id
    message["X-Shop-Mail-Kind"] = mail.kind
    message.set_content(mail.text)
    return message


def _translated(error: Exception) -> ShopError:
    refusals = error.recipients if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else [error]
    codes = [refusal.code for refusal in refusals if isinstance(refusal, aiosmtplib.SMTPResponseException)]
    if codes and all(code >= _PERMANENT for code in codes):
        return _refused(str(error))
    return unavailable("smtp")


def _refused(reason: str) -> ShopError:
    return ShopError("MAIL_REFUSED", f"the mail can never be delivered: {reason}", Kind.INVALID)
