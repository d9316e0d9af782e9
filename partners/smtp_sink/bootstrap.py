"""The composition root of smtp_sink: the one place that reads settings and builds adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chassis.http import serve_http
from chassis.settings import ProcessSettings
from partners.smtp_sink.http_view import application
from partners.smtp_sink.mailbox import Mailbox
from partners.smtp_sink.smtp_server import serve_smtp


class Settings(ProcessSettings):
    smtp_port: int = 8025
    mail_port: int = 8026
    # How many mails to keep; beyond that the oldest go.
    mail_keep: int = 10_000


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the sink takes mails and where it shows them."""

    smtp_port: int
    mail_port: int


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Listening]:
    """Take mails over SMTP and show them over HTTP until the block ends."""
    settings = settings or Settings()
    mailbox = await asyncio.to_thread(Mailbox.open, settings.data_dir / "mails", keep=settings.mail_keep)
    async with (
        serve_http(application(mailbox), host=settings.host, port=settings.mail_port) as mail_port,
        serve_smtp(mailbox, host=settings.host, port=settings.smtp_port) as smtp_port,
    ):
        yield Listening(smtp_port, mail_port)
