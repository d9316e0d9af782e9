"""The composition root of mailer: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chassis.broker.inbox import Inbox
from chassis.process import Running
from chassis.service import service
from chassis.settings import ProcessSettings
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.mailer.clients import GrpcCustomers
from services.mailer.consumer import QUEUE, OrderMailConsumer
from services.mailer.ports import MailTransport
from services.mailer.smtp import SmtpTransport
from services.mailer.sql_store import SqlSentMails, inbox
from services.mailer.use_cases import OrderMails

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    smtp_address: str = "127.0.0.1:8025"
    # The mail server's account, sent after STARTTLS only; empty where it requires none.
    smtp_username: str = ""
    # The password of SHOP_SMTP_USERNAME at the mail server.
    smtp_password: str = ""


@asynccontextmanager
async def run(settings: Settings | None = None, *, transport: MailTransport | None = None) -> AsyncIterator[Running]:
    """Write mails about orders until the block ends. Listens nowhere."""
    settings = settings or Settings()
    async with service("mailer", settings) as s:
        db = await s.database("mailer", MIGRATIONS)
        broker = await s.broker()
        customers = GrpcCustomers(
            *await s.client(
                "users",
                settings.users_address,
                UserServiceStub,
                idempotent=["shop.users.v1.UserService/GetUsers"],
                as_itself=True,
            )
        )
        if transport is None:
            transport = smtp = SmtpTransport(
                settings.smtp_address, s.telemetry, username=settings.smtp_username, password=settings.smtp_password
            )
            s.on_end(smtp.close)
        consumer = OrderMailConsumer(OrderMails(customers, transport, SqlSentMails(db)))
        await s.background(Inbox(inbox).pruning(db))
        await s.consume(broker, QUEUE, consumer.handle)
        await s.show_health(broker.healthy)
        yield Running()
