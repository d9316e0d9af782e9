"""The composition root of notifier: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp.typedefs import Handler

from chassis.background import background
from chassis.broker import connect as connect_broker
from chassis.broker.port import Broker, Topology
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.rpc import Client, connect
from chassis.settings import TOPOLOGY, ProcessSettings
from chassis.telemetry import telemetry
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from services.notifier.access import Doorkeeper
from services.notifier.clients import BrokerChatLog, GrpcOrders
from services.notifier.echo import echo
from services.notifier.http_api import application, serving
from services.notifier.hub import Hub
from services.notifier.metrics import Metrics
from services.notifier.sse_api import EventStreamApi
from services.notifier.ws_api import Limits, WebSocketApi


class Settings(ProcessSettings):
    notifier_port: int = 8001
    orders_address: str = "127.0.0.1:50053"
    # Origins of pages that may connect, besides the notifier's own host; the port may be "*".
    allowed_origins: tuple[str, ...] = ("http://localhost:*", "http://127.0.0.1:*")
    notifier_max_clients: int = 10_000
    # Bytes that may wait for one client before it is closed as too slow, and seconds for which it may take none.
    notifier_backlog: int = 256 << 10
    notifier_send_timeout: float = 10.0
    # Frames a client may send in a second, and at once.
    notifier_rate: float = 20.0
    notifier_burst: float = 50.0
    # Seconds between pings; who has not answered after half of that is gone.
    notifier_heartbeat: float = 20.0
    # Seconds that a connection may be open without a request.
    notifier_patience: float = 15.0
    # Serves `/echo`, for tests of the protocol.
    notifier_echo: bool = False

    def echoes(self) -> bool:
        """Whether to serve `/echo`. Raises `ValueError` in production, where nobody has any business there."""
        if self.notifier_echo and self.env == "production":
            raise ValueError("SHOP_NOTIFIER_ECHO and SHOP_ENV=production exclude each other")
        return self.notifier_echo


@asynccontextmanager
async def run(settings: Settings | None = None, *, broker: Broker | None = None) -> AsyncIterator[Running]:
    """Serve WebSocket and SSE clients until the block ends."""
    settings = settings or Settings()
    echoes = settings.echoes()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        spans = await enter(telemetry("notifier", settings.otlp_url, sample_ratio=settings.trace_sample_ratio))
        if broker is None:
            broker = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
            stack.push_async_callback(broker.close)
        provider = await enter(identity_provider(settings.users_address, spans, tls=settings.tls("notifier")))
        tls = settings.tls("notifier")
        channel = await enter(
            connect(settings.orders_address, idempotent=["shop.orders.v1.OrderService/GetOrder"], tls=tls)
        )
        orders = GrpcOrders(OrderServiceStub(channel), Client("orders", spans))
        doorkeeper = Doorkeeper(
            provider.verifier, allowed_origins=settings.allowed_origins, max_clients=settings.notifier_max_clients
        )
        metrics = Metrics()
        hub = Hub(broker, spans, metrics, send_timeout=settings.notifier_send_timeout)
        limits = Limits(
            settings.notifier_backlog, settings.notifier_rate, settings.notifier_burst, settings.notifier_heartbeat
        )
        websocket = WebSocketApi(hub, doorkeeper, orders, BrokerChatLog(broker, spans), spans, metrics, limits)
        event_stream = EventStreamApi(hub, doorkeeper, backlog=limits.backlog, heartbeat=limits.heartbeat)
        healthy = broker.healthy

        async def ready() -> bool:
            return hub.following and await healthy()

        await enter(background(hub.follow(), hub.sweep()))
        connections: dict[str, Handler] = {
            "/notifications": websocket.handle,
            "/notifications/stream": event_stream.handle,
        }
        if echoes:
            connections["/echo"] = echo
        app = application(doorkeeper, connections, ready=ready, metrics=metrics.text)
        server = serving(
            app,
            host=settings.host,
            port=settings.notifier_port,
            patience=settings.notifier_patience,
            unanswered=settings.notifier_heartbeat * 1.5,
            drain=hub.close_all,
            tls=tls,
        )
        yield Running(await enter(server))
