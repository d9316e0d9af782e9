"""The composition root of mcp_server: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

from chassis.http.middleware import HttpBoundary
from chassis.process import Running
from chassis.service import service
from chassis.settings import Positive, ProcessSettings
from mcp_server.app import application
from mcp_server.caller import Shop, by_request
from mcp_server.resources import Subscriptions
from mcp_server.server import mcp_server
from mcp_server.token_exchange import TokenExchange
from protos.shop.users.v1.users_pb2 import ExchangeTokenRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub


class Settings(ProcessSettings):
    mcp_port: int = 8011
    gateway_url: str = "http://127.0.0.1:8000"
    notifier_url: str = "http://127.0.0.1:8001"
    # Seconds for one call of the gateway; the gateway's own deadlines are mostly shorter, an audit's is the longest.
    mcp_budget: Positive = 65.0


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Serve MCP over Streamable HTTP until the block ends."""
    settings = settings or Settings()
    async with service("mcp_server", settings) as s:
        verifier = (await s.identity()).verifier
        gateway = await s.gateway(settings.gateway_url, budget=settings.mcp_budget)
        notifier = await s.notifier(settings.notifier_url)
        users, client = await s.client("users", settings.users_address, UserServiceStub, as_itself=True)

        async def exchange(token: str) -> tuple[str, float]:
            answer = await client.call(users.ExchangeToken, ExchangeTokenRequest(access_token=token))
            return answer.access_token, float(answer.expires_in)

        shop = Shop(gateway, by_request(TokenExchange(exchange)), counted=True)
        server = mcp_server(
            shop,
            Subscriptions(notifier),
            # Every copy has the same secret, so that any of them can go on with a call that another began.
            state_keys=[sha256(settings.service_secret.encode()).digest()] if settings.service_secret else (),
        )
        app = await s.enter(application(server, verifier))
        boundary = HttpBoundary(app, s.telemetry, protocol_of=lambda _: "MCP")
        yield Running(await s.serve_http(boundary, settings.mcp_port))
