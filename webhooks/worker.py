"""The composition root of the worker: relay, processing and replays of what was received, and outgoing webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from chassis.process import Running
from chassis.service import Service, service
from chassis.settings import Delays, NotNegative, Positive, ProcessSettings
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.webhooks.v1.webhooks_pb2_grpc import (
    add_WebhookAdminServiceServicer_to_server,
    add_WebhookEndpointServiceServicer_to_server,
)
from webhooks.incoming import grpc_api as admin_api
from webhooks.incoming.clients import GrpcShop
from webhooks.incoming.consumer import QUEUE, WebhookConsumer
from webhooks.incoming.ports import Shop
from webhooks.incoming.records import Records
from webhooks.incoming.relay import Relay
from webhooks.incoming.replays import Replays
from webhooks.incoming.sql_store import inbox
from webhooks.incoming.sql_store.batching import BatchingWebhookStore
from webhooks.incoming.use_cases import Processing
from webhooks.outgoing import grpc_api as endpoints_api
from webhooks.outgoing import ports as outgoing
from webhooks.outgoing.addresses import check_target, is_public
from webhooks.outgoing.consumer import FanOut
from webhooks.outgoing.dispatcher import Dispatcher
from webhooks.outgoing.domain import RetryPolicy
from webhooks.outgoing.lookup import EndpointNames
from webhooks.outgoing.sender import http_sender
from webhooks.outgoing.sql_store import SqlDeliveryStore, SqlEndpointStore
from webhooks.outgoing.use_cases import Endpoints
from webhooks.retention import Retention

MIGRATIONS = Path(__file__).parent / "migrations"


class WorkerSettings(ProcessSettings):
    webhooks_grpc_port: int = 50057
    orders_address: str = "127.0.0.1:50053"
    catalog_address: str = "127.0.0.1:50052"
    # The account to which orders from sales channels belong.
    channel_user_id: str = "1000"
    # Permission to deliver to this machine and to private networks, also without TLS: for development.
    webhooks_allow_private: bool = False
    # Delays before each retry of an outgoing webhook, in seconds, none shorter than the one before; the first attempt
    # is made at once. An empty list: no retry.
    webhooks_delivery_delays: Delays = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
    # Timeout of an endpoint's answer, in seconds.
    webhooks_delivery_timeout: Positive = 15.0
    # Time after which an endpoint that only fails is disabled, in seconds.
    webhooks_disable_after: Positive = 5 * 86_400.0
    # Longest pause for an endpoint's Retry-After, in seconds.
    webhooks_longest_pause: Positive = 3_600.0
    # Time for which a replaced secret signs beside its successor, in seconds.
    webhooks_secret_grace: NotNegative = 86_400.0
    # Retention of finished webhooks, in seconds: received ones that are processed, outgoing ones that are delivered or
    # given up. Until then they can be replayed or sent again.
    webhooks_keep: NotNegative = 30 * 86_400.0
    # Interval between deletions of webhooks older than SHOP_WEBHOOKS_KEEP, in seconds.
    webhooks_forget_every: Positive = 3_600.0


@asynccontextmanager
async def run_worker(settings: WorkerSettings | None = None, *, shop: Shop | None = None) -> AsyncIterator[Running]:
    """Process what was received, serve shop.webhooks.v1 and deliver outgoing webhooks until the block ends."""
    settings = settings or WorkerSettings()
    async with service("webhook_worker", settings) as s:
        db = await s.database("webhooks", MIGRATIONS)
        broker = await s.broker()
        received, deliveries = BatchingWebhookStore(db), SqlDeliveryStore(db, inbox)
        processing = Processing(received, shop or await _shop(s, settings))

        allow_private = settings.webhooks_allow_private
        permitted: Callable[[str], bool] = (lambda _: True) if allow_private else is_public
        sender = await s.enter(http_sender(permitted, s.telemetry, timeout=settings.webhooks_delivery_timeout))
        dispatcher = Dispatcher(deliveries, sender, db, _retry_policy(settings))
        endpoints = Endpoints(
            SqlEndpointStore(db),
            deliveries,
            partial(check_target, permitted=permitted, look_up=EndpointNames().look_up),
            dispatcher.wake,
            allow_plain=allow_private,
            grace=timedelta(seconds=settings.webhooks_secret_grace),
        )

        keep, every = timedelta(seconds=settings.webhooks_keep), timedelta(seconds=settings.webhooks_forget_every)
        expiring = (received.delete_expired, deliveries.delete_expired, deliveries.delete_events)
        retention = Retention(db, *expiring, keep=keep, every=every)
        await s.background(Relay(received, db, broker).run(), dispatcher.run(), retention.run())
        await s.consume(broker, QUEUE, WebhookConsumer(processing).handle)
        await s.consume(broker, outgoing.QUEUE, FanOut(deliveries, dispatcher.wake).handle)
        admin = admin_api.WebhookAdminApi(Replays(received, broker, QUEUE), Records(received, keep))
        port = await s.serve(
            (add_WebhookAdminServiceServicer_to_server, admin),
            (add_WebhookEndpointServiceServicer_to_server, endpoints_api.WebhookEndpointApi(endpoints)),
            policy={**admin_api.POLICY, **endpoints_api.POLICY},
            port=settings.webhooks_grpc_port,
        )
        yield Running(port)


async def _shop(s: Service, settings: WorkerSettings) -> GrpcShop:
    # Both upstreams recognize a repeat, so gRPC may retry.
    return GrpcShop(
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


def _retry_policy(settings: WorkerSettings) -> RetryPolicy:
    return RetryPolicy(
        settings.webhooks_delivery_delays,
        disable_after=timedelta(seconds=settings.webhooks_disable_after),
        max_pause=settings.webhooks_longest_pause,
    )
