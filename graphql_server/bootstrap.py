"""The composition root of graphql_server: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from graphql import build_schema
from strawberry.extensions import DisableIntrospection, ParserCache

from chassis.http.middleware import HttpBoundary
from chassis.process import Running
from chassis.service import service
from chassis.settings import AtLeastOne, Positive, ProcessSettings, ZeroOrMore
from graphql_server.app import MAX_BODY_BYTES, GraphqlView, by_path
from graphql_server.document_cache import DocumentChecks, Documents, Verdicts, trusted_documents
from graphql_server.limits import Limits, Prices, introspection_sizes
from graphql_server.schema import SIZES, WEIGHTS, Replays, ShopSchema, graphql_schema
from graphql_server.websocket.connection import SocketLimits, SocketServices


class Settings(ProcessSettings):
    graphql_port: int = 8010
    gateway_url: str = "http://127.0.0.1:8000"
    notifier_url: str = "http://127.0.0.1:8001"
    # Seconds for a whole query: less than the gateway gives, so that a partial answer still arrives.
    graphql_budget: Positive = 1.8
    # The most tokens (names, numbers, signs) in a query.
    graphql_max_tokens: AtLeastOne = 1_000
    # The most levels of a query.
    graphql_max_depth: AtLeastOne = 8
    # The most aliases in a query.
    graphql_max_aliases: ZeroOrMore = 15
    # Highest cost of a query: about one for each field that can be answered.
    graphql_max_cost: AtLeastOne = 5_000
    # JSON file {SHA-256: document}: only these documents are executed; empty: all documents.
    graphql_trusted_documents: Path | None = None
    # The most WebSockets at once.
    graphql_max_sockets: AtLeastOne = 1_000
    # The most WebSockets at once of one client: an address, or an IPv6 network.
    graphql_max_sockets_of_client: AtLeastOne = 200
    # The most operations at once on one WebSocket.
    graphql_max_operations: AtLeastOne = 20
    # Messages a second that a WebSocket may send.
    graphql_socket_rate: Positive = 50.0
    # Seconds in which a WebSocket client has to send connection_init.
    graphql_init_timeout: Positive = 5.0
    # Seconds without progress in sending to a WebSocket client, before it is closed.
    graphql_send_timeout: Positive = 10.0

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
            connections_of_client=self.graphql_max_sockets_of_client,
            operations=self.graphql_max_operations,
            rate=self.graphql_socket_rate,
            init_timeout=timedelta(seconds=self.graphql_init_timeout),
            send_timeout=self.graphql_send_timeout,
            budget=self.graphql_budget,
        )

    def executable_schema(self) -> ShopSchema:
        """The schema with what runs around each operation. Introspection and suggestions are for development."""
        limits, verdicts = self.limits(), Verdicts()
        prices = Prices(SIZES, WEIGHTS, introspection_sizes(build_schema(graphql_schema().as_str())))
        explored = self.env == "development"
        return graphql_schema(
            extensions=[
                *([] if explored else [DisableIntrospection]),
                ParserCache,
                Replays,
                lambda: DocumentChecks(limits, prices, verdicts),
            ],
            suggestions=explored,
        )

    def documents(self, schema: ShopSchema) -> Documents:
        """Raises `ValueError` for a file of trusted documents that is not one."""
        return Documents(trusted_documents(self.graphql_trusted_documents, schema.as_str()))


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Serve GraphQL over HTTP and WebSocket until the block ends."""
    settings = settings or Settings()
    schema, budget = settings.executable_schema(), settings.graphql_budget
    documents = settings.documents(schema)
    async with service("graphql_server", settings) as s:
        verifier = (await s.identity()).verifier
        gateway = await s.gateway(settings.gateway_url, budget=budget)
        notifier = await s.notifier(settings.notifier_url)
        sockets = SocketServices(gateway, notifier, verifier, s.telemetry, settings.socket_limits())
        app = by_path(GraphqlView(schema, documents, gateway, sockets))
        boundary = HttpBoundary(app, s.telemetry, protocol_of=lambda _: "GraphQL", budget=budget)
        yield Running(await s.serve_http(boundary, settings.graphql_port, max_websocket_message=MAX_BODY_BYTES))
