"""Mailer keeps its connection to the mail server from one mail to the next."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from chassis.errors import ShopError
from chassis.observability.tracing import Telemetry
from services.mailer.domain import Customer, News, render
from services.mailer.smtp import SmtpTransport
from tests.mail_tls import mail_tls
from tests.waiting import eventually


class MailServer:
    """A mail server that counts by connection, and refuses mails to `nobody@shop.test`."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.received: list[bytes] = []
        self.passwords: list[bytes] = []
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address == "nobody@shop.test":
            return "550 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        self.received.append(envelope.original_content or b"")
        return "250 OK"

    def connection(self) -> Any:
        options: Any = {"tls_context": self.tls, "authenticator": self.rejected} if self.tls else {}
        self.connections.append(SMTP(self, hostname="mail.test", **options))
        return self.connections[-1]

    def rejected(self, *sign_in: Any) -> AuthResult:
        self.passwords.append(sign_in[-1].password)
        return AuthResult(success=False, handled=False)

    def still_open(self) -> list[Any]:
        return [each for each in self.connections if each.transport is not None and not each.transport.is_closing()]


@asynccontextmanager
async def mail_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
    """Serve until the block ends; with STARTTLS, every password is rejected."""
    found = MailServer()
    found.tls = tls
    server = await asyncio.get_running_loop().create_server(found.connection, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for each in found.still_open():
            each.transport.abort()


@asynccontextmanager
async def transport_for(server: MailServer) -> AsyncIterator[SmtpTransport]:
    transport = SmtpTransport(f"127.0.0.1:{server.port}", Telemetry("test"))
    try:
        yield transport
    finally:
        await transport.close()


def mail(number: int, email: str = "demo@shop.test") -> Any:
    news = News(f"event-{number}", "shipped", f"order-{number}", "user", datetime.now(UTC), {"shipment_number": "S1"})
    return render(news, Customer("Demo", email))


async def test_mails_one_after_another_share_a_connection() -> None:
    """Three mails go over one connection, and closing takes leave of the server."""
    async with mail_server() as server:
        async with transport_for(server) as transport:
            for number in range(3):
                await transport.send(mail(number))
        assert len(server.received) == 3
        assert len(server.connections) == 1
        await eventually(lambda: not server.still_open())


async def test_mails_at_the_same_time_do_not_wait_for_each_other() -> None:
    """A connection has one mail at a time; what comes meanwhile gets one of its own."""
    async with mail_server() as server, transport_for(server) as transport:
        await asyncio.gather(*(transport.send(mail(number)) for number in range(3)))
        assert len(server.received) == 3
        assert len(server.connections) == 3


async def test_connection_that_the_server_has_closed_is_not_used_again() -> None:
    """The mail after a restart of the server goes over a new connection, at once."""
    async with mail_server() as server, transport_for(server) as transport:
        await transport.send(mail(1))
        server.connections[0].transport.close()
        await eventually(lambda: not transport.connected)
        await transport.send(mail(2))
        assert len(server.received) == 2
        assert len(server.connections) == 2


async def test_refused_mail_does_not_spoil_the_next() -> None:
    """After a refusal the next mail is sent, as if nothing had been."""
    async with mail_server() as server, transport_for(server) as transport:
        with pytest.raises(ShopError, match="rejected for good") as refusal:
            await transport.send(mail(1, "nobody@shop.test"))
        assert refusal.value.code == "MAIL_REFUSED"
        await transport.send(mail(2))
        assert len(server.received) == 1


async def test_a_server_that_accepts_no_connection_is_tried_later() -> None:
    """The rejection is not about the mail."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 No service\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        transport = SmtpTransport(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", Telemetry("test"))
        with pytest.raises(ShopError) as rejection:
            await transport.send(mail(1))
        assert rejection.value.code == "UPSTREAM_UNAVAILABLE"
        await transport.close()


async def test_a_password_that_is_being_replaced_is_tried_later() -> None:
    """It is sent over TLS, and its rejection is not about the mail."""
    tls, trust = mail_tls()
    async with mail_server(tls) as server:
        address = f"127.0.0.1:{server.port}"
        transport = SmtpTransport(address, Telemetry("test"), username="shop", password="old", trust=trust)
        with pytest.raises(ShopError) as rejection:
            await transport.send(mail(1))
        assert rejection.value.code == "UPSTREAM_UNAVAILABLE"
        assert set(server.passwords) == {b"old"}
        await transport.close()


async def test_a_password_is_never_sent_in_clear() -> None:
    """A server without STARTTLS gets no AUTH though it offers it; the error says what to change, and passes."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        while line := await reader.readline():
            received.append(line)
            writer.write(b"250 AUTH PLAIN LOGIN\r\n" if line.startswith(b"EHLO") else b"235 welcome\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        transport = SmtpTransport(f"127.0.0.1:{port}", Telemetry("test"), username="shop", password="secret")
        with pytest.raises(ShopError, match=rf"127.0.0.1:{port} offers no STARTTLS.*SHOP_SMTP_USERNAME") as rejection:
            await transport.send(mail(1))
        assert rejection.value.code == "UPSTREAM_UNAVAILABLE"
        assert [line for line in received if not line.startswith(b"EHLO")] == []
        await transport.close()
