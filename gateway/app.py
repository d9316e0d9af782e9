"""The application: the routes inside, the policies of the edge around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.http import Application, HttpBoundary, Receive, Scope, Send
from chassis.identity import TokenVerifier
from chassis.telemetry import Telemetry
from gateway import errors
from gateway.auth import Identity
from gateway.body_limit import BodyLimit, LingeringClose
from gateway.cache import EdgeCache
from gateway.cache_store import CacheStore
from gateway.clients import Upstreams
from gateway.compression import Compression
from gateway.cross_origin import KnownPages, cross_origin
from gateway.deadlines import Deadlines
from gateway.edge_headers import EdgeHeaders
from gateway.edge_metrics import EdgeMetrics
from gateway.forwarded import Forwarded, Network
from gateway.graphql_socket import GraphqlSocket, by_scheme
from gateway.openapi import DocumentedApi
from gateway.rate_limits import Quota, RateLimits
from gateway.routes import auth, docs, files, graphql, orders, products, system, users, webhook_endpoints
from gateway.service_calls import ServiceCalls
from gateway.windows import Windows

_FILES = "/v1/files"
# The busiest first: routes are tried in this order.
_ROUTERS = (
    products.router,
    orders.router,
    graphql.router,
    users.router,
    auth.router,
    files.router,
    webhook_endpoints.router,
    system.router,
    docs.router,
)


@dataclass(frozen=True, slots=True)
class Policies:
    """What the edge allows: bytes of a body and of the cache, seconds for a request, requests of a client and a user.

    `trusted_proxies` are believed when they say for whom they ask; pages of `cors_origins` may read what we answer,
    those of `socket_origins` may open WebSockets.
    """

    max_json_bytes: int
    max_file_bytes: int
    request_budget: float
    transfer_budget: float
    client_quotas: Sequence[Quota]
    user_quotas: Sequence[Quota]
    cache_bytes: int
    trusted_proxies: Sequence[Network]
    cors_origins: Sequence[str]
    socket_origins: Sequence[str]
    https: bool

    def body_limit(self, path: str) -> int:
        return self.max_file_bytes if path == _FILES else self.max_json_bytes

    def budget(self, path: str) -> float:
        return self.transfer_budget if path.startswith(_FILES) else self.request_budget


@dataclass(frozen=True, slots=True)
class Edge:
    """The application, and those of its parts that have something to do beside requests."""

    app: Application
    deadlines: Deadlines
    cache: EdgeCache | None


def create_api() -> DocumentedApi:
    """The routes, their errors and their document."""
    api = DocumentedApi(
        title="Polyglot Shop",
        version="1.0.0",
        summary="A small online shop in which every boundary speaks the protocol that fits it",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        exception_handlers={**errors.HANDLERS},
        # `HttpBoundary` makes the one span of this side.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    for router in _ROUTERS:
        # Flat, not `include_router`: what that nests is matched twice, and hides a path's other methods from a 405.
        api.router.routes.extend(router.routes)
    return api


def create_app(
    upstreams: Upstreams,
    verifier: TokenVerifier,
    telemetry: Telemetry,
    policies: Policies,
    *,
    windows: Windows,
    metrics: EdgeMetrics,
) -> Edge:
    """The API behind the policies.

    The outermost policy comes last. A client is counted before its token costs anything, and nothing is answered from
    the cache to somebody who would not have been let in.
    """
    api = create_api()
    api.state.upstreams = upstreams
    api.state.metrics = metrics
    app: Application = api
    app = BodyLimit(app, policies.body_limit)
    app = Compression(app)
    app = LingeringClose(app)
    cache = None
    if policies.cache_bytes:
        app = cache = EdgeCache(app, CacheStore(policies.cache_bytes), seen=metrics.read)
    app = HeadAsGet(app)
    app = RateLimits(app, windows, policies.user_quotas, refused=metrics.refused)
    app = Identity(app, verifier)
    app = RateLimits(app, windows, policies.client_quotas, refused=metrics.refused)
    app = deadlines = Deadlines(app, policies.budget)
    # No deadline for a WebSocket, and no identity: its token comes in its first message, and the server behind looks.
    sockets: Application = GraphqlSocket(upstreams.graphql.url, telemetry)
    sockets = KnownPages(sockets, policies.socket_origins)
    app = by_scheme(app, RateLimits(sockets, windows, policies.client_quotas, refused=metrics.refused))
    app = ServiceCalls(app, verifier)
    if policies.trusted_proxies:
        app = Forwarded(app, policies.trusted_proxies)
    if policies.cors_origins:
        app = cross_origin(app, policies.cors_origins)
    app = EdgeHeaders(app, https=policies.https)
    return Edge(HttpBoundary(app, telemetry, protocol_of=protocol_of, observer=metrics.process), deadlines, cache)


def protocol_of(path: str) -> str:
    """What is spoken at a path."""
    return "GraphQL" if path == "/graphql" else "REST"


class HeadAsGet:
    """Pure ASGI: answers HEAD as GET, whose body the server leaves out; a file's HEAD has a route of its own."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "HEAD" or scope["path"].startswith(_FILES):
            await self._app(scope, receive, send)
            return
        # A copy: the server looks at its own scope to know that no body is wanted.
        inner = {**scope, "method": "GET"}
        await self._app(inner, receive, send)
        scope["route"] = inner.get("route")
