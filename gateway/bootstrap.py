"""The composition root of the gateway: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from limits import parse

from chassis.background import background
from chassis.broker import connect as connect_broker
from chassis.broker.port import Broker, Topology
from chassis.http import serve_http
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.settings import TOPOLOGY, ProcessSettings
from chassis.telemetry import Telemetry, telemetry
from gateway.app import Policies, create_app
from gateway.cache import follow_catalogue
from gateway.clients import connected
from gateway.edge_metrics import EdgeMetrics
from gateway.forwarded import networks
from gateway.graphql_client import graphql_client
from gateway.graphql_socket import LARGEST_MESSAGE
from gateway.rate_limits import Quota, by_client, by_sign_in, by_user
from gateway.windows import windows


class Settings(ProcessSettings):
    gateway_port: int = 8000
    catalog_address: str = "127.0.0.1:50052"
    orders_address: str = "127.0.0.1:50053"
    inventory_address: str = "127.0.0.1:50054"
    storage_address: str = "127.0.0.1:50055"
    webhooks_address: str = "127.0.0.1:50057"
    graphql_url: str = "http://127.0.0.1:8010"
    # Seconds for a request and everything done for it; for a file's whole way up or down.
    request_budget: float = 2.0
    transfer_budget: float = 300.0
    max_json_bytes: int = 256 << 10
    max_file_bytes: int = 100 << 20
    # "AMOUNT/PERIOD" or "AMOUNT/COUNT PERIODs", such as "100/10 seconds".
    client_rate_limit: str = "60000/minute"
    user_rate_limit: str = "30000/minute"
    sign_in_rate_limit: str = "300/minute"
    # redis://… (or rediss:) where several gateways share the counts; empty for this one's memory.
    rate_limit_url: str = ""
    # Bytes for what anybody may read of the catalogue; 0 for no cache.
    edge_cache_bytes: int = 32 << 20
    # Comma-separated networks ("10.0.0.0/8") whose X-Forwarded-For is believed, and origins whose pages may call us.
    trusted_proxies: str = ""
    cors_origins: str = ""
    # Origins of pages that may open a WebSocket, besides those and our own host; the port may be "*".
    allowed_origins: tuple[str, ...] = ("http://localhost:*", "http://127.0.0.1:*")

    def policies(self) -> Policies:
        """Raises `ValueError` for a rate limit or a network that is not one."""
        cors = [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
        return Policies(
            max_json_bytes=self.max_json_bytes,
            max_file_bytes=self.max_file_bytes,
            request_budget=self.request_budget,
            transfer_budget=self.transfer_budget,
            client_quotas=(
                Quota("client", parse(self.client_rate_limit), by_client),
                Quota("sign-in", parse(self.sign_in_rate_limit), by_sign_in),
            ),
            user_quotas=(Quota("user", parse(self.user_rate_limit), by_user),),
            cache_bytes=self.edge_cache_bytes,
            trusted_proxies=networks(self.trusted_proxies),
            cors_origins=cors,
            socket_origins=(*self.allowed_origins, *cors),
            https=self.tls_dir is not None,
        )

    def addresses(self) -> dict[str, str]:
        """Where the gRPC upstreams are."""
        return {
            "users": self.users_address,
            "catalog": self.catalog_address,
            "orders": self.orders_address,
            "inventory": self.inventory_address,
            "storage": self.storage_address,
            "webhooks": self.webhooks_address,
        }


@asynccontextmanager
async def run(
    settings: Settings | None = None, *, spans: Telemetry | None = None, broker: Broker | None = None
) -> AsyncIterator[Running]:
    """Serve the client-facing edge until the block ends."""
    settings = settings or Settings()
    policies, tls = settings.policies(), settings.tls("gateway")
    metrics = EdgeMetrics()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        if spans is None:
            spans = await enter(telemetry("gateway", settings.otlp_url, sample_ratio=settings.trace_sample_ratio))
        provider = await enter(identity_provider(settings.users_address, spans, tls=tls))
        graphql = await enter(graphql_client(settings.graphql_url, spans, timeout=settings.request_budget))
        upstreams = await enter(
            connected(
                settings.addresses(),
                graphql,
                spans,
                transfer_budget=settings.transfer_budget,
                observer=metrics.process,
                tls=tls,
            )
        )
        counts = await enter(windows(settings.rate_limit_url))
        edge = create_app(upstreams, provider.verifier, spans, policies, windows=counts, metrics=metrics)
        await enter(background(edge.deadlines.watch()))
        if edge.cache is not None:
            if broker is None:
                broker = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
                stack.push_async_callback(broker.close)
            await enter(background(follow_catalogue(broker, edge.cache)))
        serving = serve_http(
            edge.app,
            host=settings.host,
            port=settings.gateway_port,
            tls=tls,
            largest_websocket_message=LARGEST_MESSAGE,
        )
        yield Running(await enter(serving))
