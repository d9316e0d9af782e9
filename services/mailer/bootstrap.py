"""The composition root of mailer: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chassis.broker import connect as connect_broker
from chassis.broker.consumer import consuming
from chassis.broker.port import Topology
from chassis.database import database
from chassis.health import showing_health
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.rpc import Client, connect
from chassis.settings import TOPOLOGY, ProcessSettings
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.mailer.clients import GrpcCustomers
from services.mailer.consumer import QUEUE, OrderMailConsumer
from services.mailer.ports import Postman
from services.mailer.smtp import SmtpPostman
from services.mailer.sql_store import SqlSentMails
from services.mailer.use_cases import OrderMails

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    smtp_address: str = "127.0.0.1:8025"
    smtp_username: str = ""
    smtp_password: str = ""


@asynccontextmanager
async def run(settings: Settings | None = None, *, postman: Postman | None = None) -> AsyncIterator[Running]:
    """Write mails about orders until the block ends. Listens nowhere."""
    settings = settings or Settings()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        spans = await enter(settings.telemetry("mailer"))
        db = await enter(
            database(
                settings.database("mailer"), MIGRATIONS, create=settings.env == "development", migrate=settings.migrate
            )
        )
        events = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
        stack.push_async_callback(events.close)
        provider = await enter(identity_provider(settings.users_address, spans, tls=settings.tls("mailer")))
        channel = await enter(
            connect(
                settings.users_address, idempotent=["shop.users.v1.UserService/GetUsers"], tls=settings.tls("mailer")
            )
        )
        token = provider.service_token("mailer", settings.service_secret)
        customers = GrpcCustomers(UserServiceStub(channel), Client("users", spans, token=token))
        postman = postman or SmtpPostman(
            settings.smtp_address, spans, username=settings.smtp_username, password=settings.smtp_password
        )
        consumer = OrderMailConsumer(OrderMails(customers, postman, SqlSentMails(db)))
        await enter(consuming(events, QUEUE, consumer.handle, telemetry=spans, retry_delays=settings.retry_delays))
        await enter(showing_health(settings.host, settings.health_port, events.healthy))
        yield Running()
