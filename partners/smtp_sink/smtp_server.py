"""SMTP (RFC 5321): takes any mail from anyone, and answers 250 once it is on the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope

from partners.smtp_sink.mailbox import Mailbox

log = logging.getLogger(__name__)

MAX_MAIL = 1 << 20
# RFC 5321, 4.5.3.2.7 lets a server wait five minutes for the next command; no client here needs that long.
_IDLE_SECONDS = 30.0


class Receiver:
    """The handler that aiosmtpd calls. Its answers are SMTP's."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep the mail; its sender may forget it only after this answer."""
        content = envelope.original_content or b""
        try:
            await self._mailbox.add(content, envelope.rcpt_tos)
        except OSError as error:
            log.warning("mail not stored", extra={"reason": str(error)})
            return "451 Requested action aborted: cannot write to the disk"
        log.debug("mail received", extra={"to": ", ".join(envelope.rcpt_tos), "bytes": len(content)})
        return "250 OK"


@asynccontextmanager
async def serve_smtp(mailbox: Mailbox, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve SMTP until the block ends, and yield the port (a free one for port 0).

    At the end connections are broken off: who has no answer yet sends again.
    """
    loop = asyncio.get_running_loop()
    connections: WeakSet[Any] = WeakSet()

    def connection() -> Any:
        receiver = Receiver(mailbox)
        protocol = SMTP(
            receiver,
            hostname="smtp-sink.test",
            data_size_limit=MAX_MAIL,
            enable_SMTPUTF8=True,
            timeout=_IDLE_SECONDS,
            loop=loop,
        )
        connections.add(protocol)
        return protocol

    server = await loop.create_server(connection, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for protocol in connections:
            if protocol.transport is not None:
                protocol.transport.abort()
