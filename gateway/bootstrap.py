"""The composition root of the gateway: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from limits import parse
from pydantic import AfterValidator

from chassis.broker.port import Broker
from chassis.http.origin_check import Origins, allowed_origins
from chassis.observability.tracing import Telemetry
from chassis.process import Running
from chassis.service import service
from chassis.settings import AtLeastOne, Positive, ProcessSettings, ZeroOrMore
from gateway.app import Policies, create_app
from gateway.clients.event_feed import follow_log
from gateway.clients.graphql_websocket import MAX_MESSAGE_BYTES
from gateway.clients.http_upstream import HttpUpstream, http_upstream
from gateway.clients.services import IDEMPOTENT, HttpServers, connected
from gateway.metrics import EdgeMetrics
from gateway.middleware.proxy_headers import networks
from gateway.middleware.rate_limits import Quota, by_client, by_sign_in, by_user
from gateway.pages.start import pages_of
from gateway.rate_limit_storage import rate_limit_storage


def _rate_limit(text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise ValueError('write it as "AMOUNT/PERIOD", such as "100/minute", or "100/10 seconds"') from error
    return text


def _networks(text: str) -> str:
    networks(text)
    return text


# Read as text, and judged at once: what is no rate limit is a wrong setting, not a gateway that fails.
RateLimit = Annotated[str, AfterValidator(_rate_limit)]
Networks = Annotated[str, AfterValidator(_networks)]


class Settings(ProcessSettings):
    gateway_port: int = 8000
    catalog_address: str = "127.0.0.1:50052"
    orders_address: str = "127.0.0.1:50053"
    inventory_address: str = "127.0.0.1:50054"
    storage_address: str = "127.0.0.1:50055"
    webhooks_address: str = "127.0.0.1:50057"
    reports_address: str = "127.0.0.1:50058"
    graphql_url: str = "http://127.0.0.1:8010"
    mcp_url: str = "http://127.0.0.1:8011"
    # URL of the console that serves orders' X-rays to administrators; empty without a console.
    console_url: str = ""
    # This gateway's public address ("https://shop.example.com"), for documents that name it. In
    # development it is the request's own.
    public_url: str = ""
    # Seconds for a request and everything done for it.
    request_budget: Positive = 2.0
    # Seconds for the whole upload or download of a file.
    transfer_budget: Positive = 300.0
    # Seconds that an upload may pause before it is given up.
    upload_timeout: Positive = 30
    # The largest JSON body of a request, in bytes.
    max_json_bytes: AtLeastOne = 256 << 10
    # The largest file that may be uploaded, in bytes.
    max_file_bytes: AtLeastOne = 100 << 20
    # Requests of an address: "AMOUNT/PERIOD" or "AMOUNT/COUNT PERIODs", such as "100/10 seconds".
    client_rate_limit: RateLimit = "60000/minute"
    # Requests of a user, in the form of SHOP_CLIENT_RATE_LIMIT.
    user_rate_limit: RateLimit = "30000/minute"
    # Sign-ins and registrations of an address.
    sign_in_rate_limit: RateLimit = "20/minute"
    # Failed sign-ins of an account, from all addresses together.
    sign_in_failure_limit: RateLimit = "10/5 minutes"
    # URL of the Redis in which several gateways share rate-limit counts (redis: or rediss:); empty: counts in memory.
    rate_limit_url: str = ""
    # Bytes of memory for cached public answers of the catalogue; 0: no cache.
    edge_cache_bytes: ZeroOrMore = 32 << 20
    # Comma-separated networks ("10.0.0.0/8") of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
    trusted_proxies: Networks = ""
    # Comma-separated origins ("https://example.com, http://localhost:*") whose pages may read our answers and open
    # WebSockets. Not set: any port of localhost, in development only.
    cors_origins: Origins = None
    # Comma-separated origins whose pages may open WebSockets, besides those of SHOP_CORS_ORIGINS and our own host. Not
    # set: any port of localhost, in development only.
    allowed_origins: Origins = None

    def policies(self) -> Policies:
        """The policies that these settings name."""
        cors = allowed_origins(self.cors_origins, env=self.env)
        return Policies(
            max_json_bytes=self.max_json_bytes,
            max_file_bytes=self.max_file_bytes,
            request_budget=self.request_budget,
            transfer_budget=self.transfer_budget,
            upload_timeout=self.upload_timeout,
            client_quotas=(
                Quota("client", parse(self.client_rate_limit), by_client),
                Quota("sign-in", parse(self.sign_in_rate_limit), by_sign_in),
            ),
            user_quotas=(Quota("user", parse(self.user_rate_limit), by_user),),
            sign_in_failures=parse(self.sign_in_failure_limit),
            cache_bytes=self.edge_cache_bytes,
            trusted_proxies=networks(self.trusted_proxies),
            cors_origins=cors,
            socket_origins=(*allowed_origins(self.allowed_origins, env=self.env), *cors),
            https=self.tls_dir is not None,
            public_url=self.public_url.rstrip("/") or ("" if self.env == "development" else None),
        )

    def addresses(self) -> dict[str, str]:
        """The addresses of the gRPC upstreams."""
        return {
            "users": self.users_address,
            "catalog": self.catalog_address,
            "orders": self.orders_address,
            "inventory": self.inventory_address,
            "storage": self.storage_address,
            "webhooks": self.webhooks_address,
            "reports": self.reports_address,
        }


@asynccontextmanager
async def run(
    settings: Settings | None = None, *, spans: Telemetry | None = None, broker: Broker | None = None
) -> AsyncIterator[Running]:
    """Serve the client-facing edge until the block ends."""
    settings = settings or Settings()
    policies, metrics = settings.policies(), EdgeMetrics()
    async with service("gateway", settings, telemetry=spans, serves_http=True) as s:
        verifier = (await s.identity()).verifier

        async def server(peer: str, url: str, protocol: str, timeout: float, connections: int = 200) -> HttpUpstream:
            return await s.enter(http_upstream(peer, url, protocol, s.telemetry, timeout, connections))

        budget, transfer_budget = settings.request_budget, settings.transfer_budget
        servers = HttpServers(
            await server("graphql_server", settings.graphql_url, "GraphQL", budget),
            # Its streams stay open: a bound here would have short calls wait until a stream ends.
            await server("mcp_server", settings.mcp_url, "MCP", transfer_budget, connections=0),
            await server("console", settings.console_url, "REST", transfer_budget) if settings.console_url else None,
        )
        channels = {
            name: await s.channel(address, idempotent=IDEMPOTENT[name])
            for name, address in settings.addresses().items()
        }
        timeout = settings.call_timeout
        upstreams = connected(channels, servers, s.telemetry, timeout, transfer_budget, metrics.process)
        counts = await s.enter(rate_limit_storage(settings.rate_limit_url))
        edge = create_app(
            upstreams,
            verifier,
            s.telemetry,
            policies,
            rate_limit_storage=counts,
            metrics=metrics,
            pages=pages_of(settings.env),
        )
        await s.background(edge.deadlines.watch())
        await s.background(follow_log((broker or await s.broker()).log, edge.cache, edge.order_waiters))
        port = await s.serve_http(edge.app, settings.gateway_port, tls=s.tls, max_websocket_message=MAX_MESSAGE_BYTES)
        s.on_end(edge.order_waiters.end)
        yield Running(port)
