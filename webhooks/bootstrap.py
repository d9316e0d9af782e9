"""The composition root of webhooks' two processes: the one that receives, and the one that does all the rest.

Receiving verifies and stores, and shares its processor with nothing. Relay, processing, replays and outgoing
deliveries may be slow, or down, without a partner noticing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from chassis.database.database import database
from chassis.http.middleware import HttpBoundary
from chassis.http.server import serve_http
from chassis.process import Running
from chassis.service import service
from chassis.settings import Delays, NotNegative, Positive, ProcessSettings
from chassis.webpages.start_page import StartPage
from webhooks.incoming.domain import PROVIDERS
from webhooks.incoming.http_api import SINGULAR_HEADERS, application
from webhooks.incoming.intake import open_intake
from webhooks.incoming.ports import Intake, Shop
from webhooks.incoming.use_cases import Receiving
from webhooks.start_page import ABOUT, EXAMPLE, LINKS

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    webhooks_port: int = 8002
    # What each provider signs with; several, comma-separated, while one is being rotated.
    webhook_secret_stripe: str = ""
    webhook_secret_github: str = ""
    webhook_secret_shopify: str = ""
    webhook_secret_standard: str = ""


class WorkerSettings(ProcessSettings):
    webhooks_grpc_port: int = 50057
    orders_address: str = "127.0.0.1:50053"
    catalog_address: str = "127.0.0.1:50052"
    # The account to which orders from sales channels belong.
    channel_user_id: str = "1000"
    # Whether webhooks may be sent to this machine and to private networks, and without TLS: for development.
    webhooks_allow_private: bool = False
    # Seconds before each retry of an outgoing webhook, after the first attempt, which is made at once; none shorter
    # than the one before. An empty list: no retry.
    webhooks_delivery_delays: Delays = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
    # Seconds that an endpoint has for its answer.
    webhooks_delivery_timeout: Positive = 15.0
    # Seconds after which an endpoint that only fails is disabled.
    webhooks_disable_after: Positive = 5 * 86_400.0
    # The longest that an endpoint is left alone for its Retry-After, in seconds.
    webhooks_longest_pause: Positive = 3_600.0
    # Seconds for which a replaced secret signs beside its successor.
    webhooks_secret_grace: NotNegative = 86_400.0
    # Seconds that what is over stays, to be replayed or sent again: received webhooks once they are processed, outgoing
    # ones once they are delivered or given up.
    webhooks_keep: NotNegative = 30 * 86_400.0
    # Seconds between two looks for what has become older than SHOP_WEBHOOKS_KEEP.
    webhooks_forget_every: Positive = 3_600.0


@asynccontextmanager
async def run(settings: Settings | None = None, *, intake: Intake | None = None) -> AsyncIterator[Running]:
    """Receive webhooks over HTTP until the block ends."""
    settings = settings or Settings()
    keys = signing_keys(settings)
    async with service("webhooks", settings) as s:
        if intake is None:
            url = settings.database("webhooks")
            async with database(url, MIGRATIONS, create=settings.env == "development", migrate=settings.migrate):
                pass  # the schema is up to date
            intake = await s.enter(open_intake(url))
        start = StartPage.of("Webhooks", ABOUT, *LINKS, example=EXAMPLE, env=settings.env)
        api = application(Receiving(intake, keys), intake.healthy, start)
        app = HttpBoundary(api, s.telemetry, protocol_of=_protocol)
        serving = serve_http(
            app,
            host=settings.host,
            port=settings.webhooks_port,
            singular=SINGULAR_HEADERS,
            telemetry=s.telemetry,
        )
        yield Running(await s.enter(serving))


def _protocol(_: str) -> str:
    return "webhook"


def signing_keys(settings: Settings) -> Mapping[str, Sequence[bytes]]:
    """Each provider's keys. Raises `ValueError` naming a setting without which signatures would prove nothing."""
    keys: dict[str, list[bytes]] = {}
    for name, provider in PROVIDERS.items():
        setting = f"SHOP_WEBHOOK_SECRET_{name.upper()}"
        text: str = getattr(settings, f"webhook_secret_{name}")
        try:
            keys[name] = [provider.key(secret) for part in text.split(",") if (secret := part.strip())]
        except ValueError as error:
            message = f"{setting}: {error}"
            raise ValueError(message) from error
        if not all(keys[name]) or not keys[name]:
            message = f"{setting} is missing: webhooks of {name} could not be verified"
            raise ValueError(message)
    return keys


@asynccontextmanager
async def run_worker(settings: WorkerSettings | None = None, *, shop: Shop | None = None) -> AsyncIterator[Running]:
    """Process what was received, serve shop.webhooks.v1 and deliver outgoing webhooks until the block ends."""
    # Imported here: the process that receives needs none of it, and shares this file.
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
    from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
    from protos.shop.webhooks.v1.webhooks_pb2_grpc import (
        add_WebhookAdminServiceServicer_to_server,
        add_WebhookEndpointServiceServicer_to_server,
    )
    from webhooks.incoming import consumer, grpc_api
    from webhooks.incoming.clients import GrpcShop
    from webhooks.incoming.records import Records
    from webhooks.incoming.relay import Relay
    from webhooks.incoming.replays import Replays
    from webhooks.incoming.sql_store import inbox
    from webhooks.incoming.sql_store.batching import BatchingWebhookStore
    from webhooks.incoming.use_cases import Processing
    from webhooks.outgoing import bootstrap as outgoing
    from webhooks.outgoing import grpc_api as endpoints_api
    from webhooks.outgoing.domain import Persistence
    from webhooks.retention import Retention

    settings = settings or WorkerSettings()
    async with service("webhook_worker", settings) as s:
        db = await s.database("webhooks", MIGRATIONS)
        broker = await s.broker()
        store = BatchingWebhookStore(db)
        # Both upstreams recognize a repeat, so gRPC may retry.
        shop = shop or GrpcShop(
            *await s.client(
                "orders",
                settings.orders_address,
                OrderServiceStub,
                idempotent=["shop.orders.v1.OrderService"],
                as_itself=True,
            ),
            *await s.client(
                "catalog",
                settings.catalog_address,
                CatalogServiceStub,
                idempotent=["shop.catalog.v1.CatalogService"],
                as_itself=True,
            ),
            channel_user_id=settings.channel_user_id,
        )
        received = consumer.WebhookConsumer(Processing(store, shop))
        persistence = Persistence(
            settings.webhooks_delivery_delays,
            disable_after=timedelta(seconds=settings.webhooks_disable_after),
            longest_pause=settings.webhooks_longest_pause,
        )
        outbound = await s.enter(
            outgoing.assembled(
                db,
                inbox,
                s.telemetry,
                persistence,
                timeout=settings.webhooks_delivery_timeout,
                grace=timedelta(seconds=settings.webhooks_secret_grace),
                allow_private=settings.webhooks_allow_private,
            )
        )
        sent = outbound.deliveries
        keep, every = timedelta(seconds=settings.webhooks_keep), timedelta(seconds=settings.webhooks_forget_every)
        retention = Retention(db, store.delete_expired, sent.delete_expired, sent.delete_events, keep=keep, every=every)
        await s.background(Relay(store, db, broker).run(), outbound.dispatcher.run(), retention.run())
        await s.consume(broker, consumer.QUEUE, received.handle)
        await s.consume(broker, outgoing.QUEUE, outbound.fan_out.handle)
        replays = Replays(store, broker, consumer.QUEUE)
        port = await s.serve(
            (add_WebhookAdminServiceServicer_to_server, grpc_api.WebhookAdminApi(replays, Records(store, keep))),
            (add_WebhookEndpointServiceServicer_to_server, endpoints_api.WebhookEndpointApi(outbound.endpoints)),
            policy={**grpc_api.POLICY, **endpoints_api.POLICY},
            port=settings.webhooks_grpc_port,
        )
        yield Running(port)
