"""The composition root of smtp_sink: the one place that reads settings and builds adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chassis.http.middleware import Identified
from chassis.http.server import serve_http
from chassis.settings import AtLeastOne, ProcessSettings
from chassis.webpages.start_page import StartPage
from partners.smtp_sink.http_api import ABOUT, LINKS, application
from partners.smtp_sink.mailbox import Mailbox
from partners.smtp_sink.smtp_server import serve_smtp


class Settings(ProcessSettings):
    smtp_port: int = 8025
    mail_port: int = 8026
    # Number of mails to keep; older ones are deleted.
    mail_keep: AtLeastOne = 10_000


@dataclass(frozen=True, slots=True)
class Listening:
    """The sink's addresses: SMTP, and HTTP to view the mails."""

    smtp_port: int
    mail_port: int


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Listening]:
    """Take mails over SMTP and show them over HTTP until the block ends."""
    settings = settings or Settings()
    mailbox = await asyncio.to_thread(Mailbox.open, settings.data_dir / "mails", keep=settings.mail_keep)
    start = StartPage.of("Mails", ABOUT, *LINKS, env=settings.env)
    async with (
        settings.telemetry("smtp_sink", serves_http=True) as spans,
        serve_http(Identified(application(mailbox, start)), host=settings.host, port=settings.mail_port) as mail_port,
        serve_smtp(mailbox, spans, host=settings.host, port=settings.smtp_port) as smtp_port,
    ):
        yield Listening(smtp_port, mail_port)
