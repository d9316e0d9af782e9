"""Mailer keeps its connection to the mail server from one mail to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope

from chassis.errors import ShopError
from chassis.observability.tracing import Telemetry
from services.mailer.domain import Customer, News, render
from services.mailer.smtp import SmtpTransport
from tests.waiting import eventually


class MailServer:
    """A mail server that counts by connection, and refuses mails to `nobody@shop.test`."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.received: list[bytes] = []
        self.port = 0

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
        self.connections.append(SMTP(self, hostname="mail.test"))
        return self.connections[-1]

    def still_open(self) -> list[Any]:
        return [each for each in self.connections if each.transport is not None and not each.transport.is_closing()]


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """Serve until the block ends."""
    found = MailServer()
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
        with pytest.raises(ShopError, match="never be delivered") as refusal:
            await transport.send(mail(1, "nobody@shop.test"))
        assert refusal.value.code == "MAIL_REFUSED"
        await transport.send(mail(2))
        assert len(server.received) == 1


@pytest.mark.parametrize("answers", [[b"554 No service\r\n"], [b"220 mail\r\n", b"250 AUTH PLAIN\r\n", b"535 no\r\n"]])
async def test_a_refusal_of_us_is_none_of_the_mail(answers: list[bytes]) -> None:
    """A server that takes nobody now, and a password that is being replaced, pass: the mail is sent later."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, answer in enumerate(answers):
            if number:
                await reader.readline()
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        transport = SmtpTransport(f"127.0.0.1:{port}", Telemetry("test"), username="shop", password="old")
        with pytest.raises(ShopError) as refusal:
            await transport.send(mail(1))
        assert refusal.value.code == "UPSTREAM_UNAVAILABLE"
        await transport.close()
