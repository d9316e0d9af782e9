"""Mails over SMTP (RFC 5321)."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, formataddr
from typing import Any

import aiosmtplib

from chassis.email_addresses import canonical_email
from chassis.errors import Kind, ShopError, unavailable
from chassis.observability.capture.smtp import CapturedSmtp
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from services.mailer.domain import Customer, Mail

_SENDER = Address("Polyglot Shop", "shop", "shop.test")
_TIMEOUT = 10.0
# Seconds that a connection is kept for the next mail: no server closes one so early.
_KEEP = 10.0
# RFC 5321, 4.2.1: what is refused by a 5yz will be refused again, what by a 4yz may not.
_PERMANENT = 500
# The refusals that are about the mail: its recipient, its content.
_OF_THE_MAIL = (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError)


class SmtpTransport:
    def __init__(
        self,
        address: str,
        telemetry: Telemetry,
        *,
        username: str = "",
        password: str = "",
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`address` is host:port. A server that offers STARTTLS gets it; credentials are never sent in clear.

        `trust` holds the authorities of its certificate; None: those of this machine.
        """
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._telemetry = telemetry
        self._username = username
        self._password = password
        self._trust = trust
        self._captured = telemetry.capture is not None
        self._kept: list[tuple[aiosmtplib.SMTP, float]] = []

    async def send(self, mail: Mail) -> None:
        recipient = _address(mail.recipient)
        message = _message(mail, recipient)
        with self._telemetry.span(
            "SMTP send",
            SpanKind.CLIENT,
            protocol="SMTP",
            peer="smtp_sink",
            attributes={"server.address": self._host, "server.port": self._port},
        ) as span:
            if self._captured:
                # SMTP has no place for it but the mail; a customer's mail server is not to see it.
                message["traceparent"] = current_traceparent()
            content = message.as_bytes()
            span.set_attribute("shop.bytes.sent", len(content))
            sender, recipients = _SENDER.addr_spec, [recipient.addr_spec]
            options = () if recipient.addr_spec.isascii() else ("SMTPUTF8", "BODY=8BITMIME")
            try:
                async with self._connection() as connection:
                    try:
                        await connection.sendmail(sender, recipients, content, mail_options=options)
                    finally:
                        if isinstance(connection, CapturedSmtp):
                            connection.keep(span)
            except (aiosmtplib.SMTPException, OSError) as error:
                raise _translated(error) from error

    @property
    def connected(self) -> bool:
        """Whether the next mail needs no new connection."""
        return any(connection.is_connected for connection, _ in self._kept)

    async def close(self) -> None:
        """Take leave of the server."""
        while self._kept:
            await _leave(self._kept.pop()[0])

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """A connection for one mail, and for the next one if all went well."""
        connection = await self._kept_connection() or await self._connected()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._kept.append((connection, time.monotonic()))

    async def _kept_connection(self) -> aiosmtplib.SMTP | None:
        while self._kept:
            connection, since = self._kept.pop()
            if connection.is_connected and time.monotonic() - since < _KEEP:
                return connection
            await _leave(connection)
        return None

    async def _connected(self) -> aiosmtplib.SMTP:
        connection = (CapturedSmtp if self._captured else aiosmtplib.SMTP)(
            hostname=self._host, port=self._port, timeout=_TIMEOUT, tls_context=self._trust
        )
        await connection.connect()
        if self._username:
            try:
                await self._sign_in(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    async def _sign_in(self, connection: aiosmtplib.SMTP) -> None:
        """Send the credentials. Raises UPSTREAM_UNAVAILABLE, and sends none, where the connection has no TLS."""
        if connection.get_transport_info("sslcontext") is None:
            raise unavailable(
                "smtp",
                f"at {self._host}:{self._port} offers no STARTTLS, and the password is not sent in clear: "
                "turn STARTTLS on there, or empty SHOP_SMTP_USERNAME if the server requires no account",
            )
        await connection.login(self._username, self._password)


class _Written(EmailPolicy):
    """Headers stay the text that they are given as: the registry takes each apart, a millisecond for a mail's."""

    def header_store_parse(self, name: str, value: Any) -> tuple[str, str]:
        # Else the rest of the value would be a header of its own.
        if "\n" in value or "\r" in value:
            raise ValueError(f"the header {name} must be one line")
        return name, value

    def header_max_count(self, name: str) -> None:
        """Allow any number: no header is set twice here, and the registry makes a class for each to check that."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 - the policy's shape
        return value


# 7bit: what is not ASCII in the text is encoded, so that every server takes it.
_ASCII = _Written(linesep="\r\n", cte_type="7bit")
# Only where it must be: not every server takes UTF-8 in a head (RFC 6531).
_UTF8 = _ASCII.clone(utf8=True)


def _message(mail: Mail, recipient: Address) -> EmailMessage:
    """The mail in the Internet Message Format (RFC 5322)."""
    message = EmailMessage(_ASCII if recipient.addr_spec.isascii() else _UTF8)
    message["To"] = _header(recipient)
    message["From"] = _header(_SENDER)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.written_at)
    message["Message-ID"] = mail.message_id
    message["X-Shop-Order-Id"] = mail.order_id
    message["X-Shop-Mail-Kind"] = mail.kind
    message.set_content(mail.text)
    return message


async def _leave(connection: aiosmtplib.SMTP) -> None:
    try:
        await connection.quit()
    except (aiosmtplib.SMTPException, OSError):
        connection.close()  # it has gone already


def _header(address: Address) -> str:
    """The form of an address in a head: in ASCII, unless the address itself is not."""
    return formataddr((address.display_name, address.addr_spec)) if address.addr_spec.isascii() else str(address)


def _address(recipient: Customer) -> Address:
    """Raises MAIL_REFUSED for what is no address."""
    try:
        if recipient.email.isascii():
            return Address(recipient.name, addr_spec=recipient.email)
        # `addr_spec` takes only ASCII, so it is looked at here.
        local_part, _, domain = canonical_email(recipient.email).rpartition("@")
        return Address(recipient.name, local_part, domain)
    except (ValueError, MessageError) as error:
        raise _refused(f"{recipient.email!r} is not a mail address") from error


def _translated(error: Exception) -> ShopError:
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return _refused(str(error))
    refusals = error.recipients if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else [error]
    # Any other rejection is not about the mail: wrong credentials, or a server that accepts no connection now.
    of_the_mail = [each for each in refusals if isinstance(each, _OF_THE_MAIL)]
    if of_the_mail and all(each.code >= _PERMANENT for each in of_the_mail):
        return _refused(str(error))
    return unavailable("smtp")


def _refused(reason: str) -> ShopError:
    return ShopError("MAIL_REFUSED", f"mail rejected for good: {reason}", Kind.INVALID)
