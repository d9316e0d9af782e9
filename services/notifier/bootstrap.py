"""The composition root of notifier: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from aiohttp.typedefs import Handler
from pydantic import Field

from chassis.broker.port import Broker
from chassis.http.origin_check import Origins, allowed_origins
from chassis.process import Running
from chassis.service import service
from chassis.settings import AtLeastOne, Positive, ProcessSettings, ZeroOrMore
from chassis.webpages.start_page import StartPage
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from services.notifier.auth import Authenticator
from services.notifier.clients import BrokerChatLog, CachedOrders, GrpcOrders
from services.notifier.delivery.hub import Hub
from services.notifier.http_api import ABOUT, EXAMPLE, LINKS, application, serving
from services.notifier.metrics import Metrics
from services.notifier.transports.echo import echo
from services.notifier.transports.sse_api import EventStreamApi
from services.notifier.transports.ws_api import Limits, WebSocketApi


class Settings(ProcessSettings):
    notifier_port: int = 8001
    orders_address: str = "127.0.0.1:50053"
    # Comma-separated origins ("https://example.com, http://localhost:*") of pages that may connect, besides the
    # notifier's own host. Not set: any port of localhost, in development only.
    allowed_origins: Origins = None
    # The most clients at once.
    notifier_max_clients: ZeroOrMore = 10_000
    # The most connections at once that have not signed in yet, beside the clients.
    notifier_max_idle: ZeroOrMore = 1_000
    # Bytes that may wait for one client before it is closed as too slow.
    notifier_backlog: AtLeastOne = 256 << 10
    # Seconds without progress in sending to a client, before it is closed as too slow.
    notifier_send_timeout: Positive = 10.0
    # Frames a second that a client may send.
    notifier_rate: Positive = 20.0
    # Frames that a client may send at once.
    notifier_burst: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 50.0
    # Seconds between pings; a client without an answer after half of that is gone.
    notifier_heartbeat: Positive = 20.0
    # Seconds that a connection may be open without a request.
    notifier_timeout: Positive = 15.0
    # Endpoint `/echo`, for tests of the protocol; false: not served.
    notifier_echo: bool = False

    def echoes(self) -> bool:
        """Whether to serve `/echo`. Raises `ValueError` in production, where it has no use."""
        if self.notifier_echo and self.env == "production":
            raise ValueError("SHOP_NOTIFIER_ECHO and SHOP_ENV=production exclude each other")
        return self.notifier_echo


@asynccontextmanager
async def run(settings: Settings | None = None, *, broker: Broker | None = None) -> AsyncIterator[Running]:
    """Serve WebSocket and SSE clients until the block ends."""
    settings = settings or Settings()
    echoes = settings.echoes()
    async with service("notifier", settings, serves_http=True) as s:
        spans = s.telemetry
        broker = broker or await s.broker()
        verifier = (await s.identity()).verifier
        orders = GrpcOrders(
            *await s.client(
                "orders",
                settings.orders_address,
                OrderServiceStub,
                idempotent=["shop.orders.v1.OrderService/GetOrder"],
            )
        )
        pages = allowed_origins(settings.allowed_origins, env=settings.env)
        authenticator = Authenticator(verifier, allowed_origins=pages, max_clients=settings.notifier_max_clients)
        metrics = Metrics()
        hub = Hub(broker.log, spans, metrics, send_timeout=settings.notifier_send_timeout)
        limits = Limits(
            settings.notifier_backlog, settings.notifier_rate, settings.notifier_burst, settings.notifier_heartbeat
        )
        websocket = WebSocketApi(
            hub, authenticator, CachedOrders(orders), BrokerChatLog(broker), spans, metrics, limits
        )
        event_stream = EventStreamApi(hub, authenticator, backlog=limits.backlog, heartbeat=limits.heartbeat)
        healthy = broker.healthy

        async def trouble() -> str:
            return hub.trouble or ("" if await healthy() else "the broker cannot be reached")

        await s.background(hub.follow(), hub.sweep())
        connections: dict[str, Handler] = {
            "/notifications": websocket.handle,
            "/notifications/stream": event_stream.handle,
        }
        if echoes:
            connections["/echo"] = echo
        start = StartPage.of("Notifier", ABOUT, *LINKS, example=EXAMPLE, env=settings.env)
        expose = metrics.process.exposition
        app = application(
            authenticator, connections, allowed_origins=pages, trouble=trouble, metrics=expose, start=start
        )
        server = serving(
            app,
            host=settings.host,
            port=settings.notifier_port,
            timeout=settings.notifier_timeout,
            unanswered=settings.notifier_heartbeat * 1.5,
            max_connections=settings.notifier_max_clients + settings.notifier_max_idle,
            drain=hub.close_all,
            tls=s.tls,
        )
        yield Running(await s.enter(server))
