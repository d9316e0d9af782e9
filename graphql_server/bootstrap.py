"""The composition root of graphql_server: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chassis.background import background
from chassis.http import HttpBoundary
from chassis.http_server import serve_http
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.settings import ProcessSettings
from chassis.telemetry import telemetry
from graphql_server.app import LARGEST_BODY, GraphqlApp
from graphql_server.documents import Documents, trusted_documents
from graphql_server.engine import Engine
from graphql_server.explorer import explorer
from graphql_server.gateway_client import gateway_client
from graphql_server.limits import Limits, Prices
from graphql_server.notifier_client import notifier_client
from graphql_server.schema import SIZES, WEIGHTS, graphql_schema
from graphql_server.service_identity import ServiceIdentity
from graphql_server.sockets import SocketLimits, Sockets, Surroundings


class Settings(ProcessSettings):
    graphql_port: int = 8010
    gateway_url: str = "http://127.0.0.1:8000"
    notifier_url: str = "http://127.0.0.1:8001"
    # Seconds for a whole query: less than the gateway gives, so that a partial answer still arrives.
    graphql_budget: float = 1.8
    graphql_max_tokens: int = 1_000
    graphql_max_depth: int = 8
    graphql_max_aliases: int = 15
    graphql_max_cost: int = 5_000
    # A JSON file {SHA-256: document}: then these documents are executed, and no others.
    graphql_trusted_documents: Path | None = None
    # WebSockets at once; for each, operations at once and messages a second.
    graphql_max_sockets: int = 1_000
    graphql_max_operations: int = 20
    graphql_socket_rate: float = 50.0
    # Seconds in which a client has to say connection_init, and for which it may take nothing of what is sent.
    graphql_init_timeout: float = 5.0
    graphql_send_timeout: float = 10.0

    def limits(self) -> Limits:
        return Limits(
            tokens=self.graphql_max_tokens,
            depth=self.graphql_max_depth,
            aliases=self.graphql_max_aliases,
            cost=self.graphql_max_cost,
        )

    def socket_limits(self) -> SocketLimits:
        return SocketLimits(
            connections=self.graphql_max_sockets,
            operations=self.graphql_max_operations,
            rate=self.graphql_socket_rate,
            init_timeout=self.graphql_init_timeout,
            send_timeout=self.graphql_send_timeout,
            budget=self.graphql_budget,
        )

    def engine(self) -> Engine:
        """Raises `ValueError` for trusted documents that are none."""
        schema, limits = graphql_schema(), self.limits()
        trusted = trusted_documents(self.graphql_trusted_documents)
        documents = Documents(schema, limits, introspection=self.env == "development", trusted=trusted)
        return Engine(schema, documents, limits, Prices(SIZES, WEIGHTS))


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Serve GraphQL over HTTP and WebSocket until the block ends."""
    settings = settings or Settings()
    engine, budget, tls = settings.engine(), settings.graphql_budget, settings.tls("graphql_server")
    trust = settings.trust()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        spans = await enter(telemetry("graphql_server", settings.otlp_url, sample_ratio=settings.trace_sample_ratio))
        provider = await enter(identity_provider(settings.users_address, spans, tls=tls))
        identity = ServiceIdentity(provider.service_token("graphql_server", settings.service_secret))
        gateway = await enter(
            gateway_client(settings.gateway_url, spans, budget=budget, identity=identity, trust=trust)
        )
        notifier = await enter(notifier_client(settings.notifier_url, spans, trust=trust))
        sockets = Sockets(Surroundings(engine, gateway, notifier, provider.verifier, spans, settings.socket_limits()))
        app = GraphqlApp(engine, gateway, sockets, page=explorer() if settings.env == "development" else None)
        boundary = HttpBoundary(app, spans, protocol_of=lambda _: "GraphQL", budget=budget)
        if settings.service_secret:
            await enter(background(identity.keep()))
        serving = serve_http(
            boundary, host=settings.host, port=settings.graphql_port, largest_websocket_message=LARGEST_BODY
        )
        yield Running(await enter(serving))
