"""SMTP (RFC 5321): takes any mail from any sender, and answers 250 once it is on the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.parser import BytesHeaderParser
from typing import Any, AnyStr
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope

from chassis.observability.capture.places import handler_place
from chassis.observability.capture.smtp_lines import ServerDialogue
from chassis.observability.tracing import SpanKind, Telemetry
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
            log.warning("smtp sink: mail not stored", extra={"reason": str(error)})
            return "451 Requested action aborted: cannot write to the disk"
        log.debug("smtp sink: mail received", extra={"to": ", ".join(envelope.rcpt_tos), "bytes": len(content)})
        return "250 OK"


class RecordingReceiver(Receiver):
    """The handler where messages are captured: each mail is a span of the trace that its head names."""

    def __init__(self, mailbox: Mailbox, telemetry: Telemetry, dialogue: ServerDialogue) -> None:
        super().__init__(mailbox)
        self._telemetry = telemetry
        self._dialogue = dialogue

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep the mail, and with its span the dialogue until then."""
        content = envelope.original_content or b""
        # A text also where it is none: of bytes beyond ASCII the parser makes an object.
        parent = str(BytesHeaderParser().parsebytes(content)["traceparent"] or "")
        with self._telemetry.span(
            "SMTP receive",
            SpanKind.SERVER,
            protocol="SMTP",
            parent=parent,
            attributes={"shop.bytes.received": len(content), **handler_place(Receiver.handle_DATA)},
        ) as span:
            reply = await super().handle_DATA(server, session, envelope)
            self._dialogue.keep(span, reply)
            return reply


class RecordingSmtp(SMTP):
    """aiosmtpd's server, which passes the lines of its connection to a recorded dialogue."""

    def __init__(self, handler: Receiver, dialogue: ServerDialogue, **options: Any) -> None:
        self._dialogue = dialogue
        super().__init__(handler, **options)

    def data_received(self, data: bytes) -> None:
        self._dialogue.received(data)
        super().data_received(data)

    async def push(self, status: AnyStr) -> None:
        self._dialogue.sent(status.encode() if isinstance(status, str) else status)
        await super().push(status)


@asynccontextmanager
async def serve_smtp(mailbox: Mailbox, telemetry: Telemetry, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve SMTP until the block ends, and yield the port (a free one for port 0).

    At the end connections are broken off: a sender without an answer sends again. Mails are recorded where the
    telemetry captures messages, and only there.
    """
    loop = asyncio.get_running_loop()
    connections: WeakSet[Any] = WeakSet()

    def connection() -> Any:
        options: dict[str, Any] = {
            "hostname": "smtp-sink.test",
            # What greets a client, in place of the library's name and version.
            "ident": "ESMTP",
            "data_size_limit": MAX_MAIL,
            "enable_SMTPUTF8": True,
            "timeout": _IDLE_SECONDS,
            "loop": loop,
        }
        if telemetry.capture is None:
            protocol = SMTP(Receiver(mailbox), **options)
        else:
            dialogue = ServerDialogue()
            protocol = RecordingSmtp(RecordingReceiver(mailbox, telemetry, dialogue), dialogue, **options)
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
