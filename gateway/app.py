"""The application: the routes inside, the policies of the edge around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem

from chassis.auth.identity import TokenVerifier
from chassis.http.middleware import Application, HttpBoundary, Scope
from chassis.observability.tracing import Telemetry
from gateway import errors
from gateway.cache.cache import EdgeCache
from gateway.cache.store import CacheStore
from gateway.clients.event_feed import OrderWaiters
from gateway.clients.graphql_websocket import GraphqlSocket, by_scheme
from gateway.clients.services import Upstreams
from gateway.http.preferences import wait_preferred
from gateway.metrics import EdgeMetrics
from gateway.middleware.auth import Identity
from gateway.middleware.body_limit import BodyLimit, LingeringClose
from gateway.middleware.compression import Compression
from gateway.middleware.cors import OriginCheck, allow_origins
from gateway.middleware.deadlines import Deadlines
from gateway.middleware.head import HeadAsGet
from gateway.middleware.internal_calls import InternalCalls
from gateway.middleware.preconditions import IfMatch, PlainBodies
from gateway.middleware.proxy_headers import Network, behind_proxies
from gateway.middleware.rate_limits import Quota, RateLimits
from gateway.middleware.security_headers import SecurityHeaders
from gateway.oauth import authorize, metadata, token
from gateway.oauth.errors import OAuthError, oauth_refusal
from gateway.oauth.protected_resource import PATH as MCP
from gateway.oauth.protected_resource import McpChallenge
from gateway.openapi import DocumentedApi
from gateway.pages import asyncapi, graphiql, problems, rest_docs, start
from gateway.pages.explorers import Pages
from gateway.rate_limit_storage import RateLimitStorage
from gateway.routes import (
    auth,
    files,
    graphql,
    mcp,
    order_reads,
    orders,
    products,
    reports,
    system,
    users,
    webhook_endpoints,
    xray,
)
from gateway.sign_in_failures import SignInFailures

_FILES = "/v1/files"
_ORDERS = "/v1/orders/"
# The busiest first: routes are tried in this order.
_ROUTERS = (
    products.router,
    orders.router,
    order_reads.router,
    graphql.router,
    users.router,
    auth.router,
    files.router,
    webhook_endpoints.router,
    reports.router,
    system.router,
    mcp.router,
    metadata.router,
    authorize.router,
    token.router,
    xray.router,
    rest_docs.router,
    start.router,
    graphiql.router,
    asyncapi.router,
    problems.router,
)


@dataclass(frozen=True, slots=True)
class Policies:
    """The edge's limits: body and cache bytes, seconds per request and per pause, requests per client and per user.

    `sign_in_failures` are those of one account. Forwarded addresses are taken from `trusted_proxies`; pages of
    `cors_origins` may read our answers, those of `socket_origins` may open WebSockets.
    """

    max_json_bytes: int
    max_file_bytes: int
    request_budget: float
    transfer_budget: float
    upload_timeout: float
    client_quotas: Sequence[Quota]
    user_quotas: Sequence[Quota]
    sign_in_failures: RateLimitItem
    cache_bytes: int
    trusted_proxies: Sequence[Network]
    cors_origins: Sequence[str]
    socket_origins: Sequence[str]
    https: bool
    # None: not configured, and a request's Host is not believed.
    public_url: str | None = ""

    def body_limit(self, path: str) -> int:
        return self.max_file_bytes if path == _FILES else self.max_json_bytes

    def budget(self, scope: Scope) -> float:
        """Seconds for a request; the wait for an order (`Prefer: wait`) is added."""
        path: str = scope["path"]
        # A tool takes the time of the calls it makes, an audit that of all books; listening has no end of its own.
        if path.startswith((_FILES, MCP, "/v1/audit")):
            return self.transfer_budget
        if not path.startswith(_ORDERS):
            return self.request_budget
        prefer = [value.decode("latin-1") for name, value in scope["headers"] if name == b"prefer"]
        return self.request_budget + (wait_preferred(prefer) if prefer else 0)


@dataclass(frozen=True, slots=True)
class Edge:
    """The application, and those of its parts that have something to do beside requests."""

    app: Application
    deadlines: Deadlines
    cache: EdgeCache | None
    order_waiters: OrderWaiters


def create_api() -> DocumentedApi:
    """The routes, their errors and their document."""
    api = DocumentedApi(
        title="Polyglot Shop",
        version="1.0.0",
        summary="A small online shop in which every boundary speaks the protocol that fits it",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        exception_handlers={**errors.HANDLERS, OAuthError: oauth_refusal},
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
    rate_limit_storage: RateLimitStorage,
    metrics: EdgeMetrics,
    pages: Pages,
) -> Edge:
    """The API behind the policies.

    The outermost policy comes last. A client is counted before its own token costs anything (a service's shows first
    whether it is one), and a client that is refused gets nothing from the cache.
    """
    api = create_api()
    api.state.upstreams = upstreams
    api.state.metrics = metrics
    api.state.pages = pages
    api.state.order_waiters = order_waiters = OrderWaiters()
    api.state.public_url = policies.public_url
    api.state.upload_timeout = policies.upload_timeout
    api.state.mcp_origins = (*policies.socket_origins, policies.public_url or "")
    api.state.sign_in_failures = SignInFailures(rate_limit_storage, policies.sign_in_failures, refused=metrics.refused)
    app: Application = api
    app = BodyLimit(app, policies.body_limit)
    app = Compression(app)
    cache = None
    if policies.cache_bytes:
        app = cache = EdgeCache(app, CacheStore(policies.cache_bytes), seen=metrics.read)
    app = HeadAsGet(IfMatch(PlainBodies(app)), own=_FILES)
    app = RateLimits(app, rate_limit_storage, policies.user_quotas, refused=metrics.refused)
    app = Identity(app, verifier)
    app = RateLimits(app, rate_limit_storage, policies.client_quotas, refused=metrics.refused)
    app = deadlines = Deadlines(app, policies.budget)
    app = LingeringClose(app)
    app = McpChallenge(app, policies.public_url)
    # No deadline for a WebSocket, and no identity: its token comes in its first message, and the server behind looks.
    sockets: Application = GraphqlSocket(upstreams.http.graphql.url, telemetry)
    sockets = OriginCheck(sockets, policies.socket_origins)
    app = by_scheme(app, RateLimits(sockets, rate_limit_storage, policies.client_quotas, refused=metrics.refused))
    app = InternalCalls(app, verifier, timeout=policies.request_budget)
    if policies.trusted_proxies:
        app = behind_proxies(app, policies.trusted_proxies)
    if policies.cors_origins:
        app = allow_origins(app, policies.cors_origins)
    app = SecurityHeaders(app, https=policies.https)
    return Edge(
        HttpBoundary(app, telemetry, protocol_of=protocol_of, observer=metrics.process), deadlines, cache, order_waiters
    )


def protocol_of(path: str) -> str:
    """The protocol of a path."""
    return {"/graphql": "GraphQL", MCP: "MCP"}.get(path, "REST")
