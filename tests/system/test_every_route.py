"""Every route of every server, with the rule for its callers: one table, compared with the servers and tried by calls.

The gRPC methods have theirs in the `POLICY` of their server; `tests/services/test_enforced_policies.py` calls them.
"""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Route as StarletteRoute

import chassis.http.health
import chassis.observability.metrics_endpoint
import graphql_server.app
import legacy_soap.http.parser
import legacy_soap.http.wsgi
import mcp_server.app
from chassis.auth import identity
from chassis.auth.identity import anyone
from console import bootstrap as console
from gateway.clients.graphql_websocket import PATHS as GATEWAY_SOCKETS
from partners import senders
from services.notifier.domain import UNAUTHENTICATED
from shop.process_table import TABLE
from tests.gateway.test_declared_rules import ROUTES as GATEWAY_DECLARES
from tests.services.test_enforced_policies import SERVERS as RPC_SERVERS
from tests.shop import Shop, free_ports, shop_in_one_loop

_REFUSED = (401, 403)
_FOREIGN_ORIGIN = {"Origin": "https://evil.example"}
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True)
class Call:
    """A route that can be called at a running server; `production` is the console's address as production has it."""

    shop: Shop
    production: str
    method: str
    url: str

    async def status(self, headers: Mapping[str, str] | None = None, *, url: str = "", **body: Any) -> int:
        """Status of the answer. Its body is not read: an event stream has no end."""
        method = "GET" if self.method == "WS" else self.method
        upgrade = _UPGRADE if self.method == "WS" else {}
        sent = {**upgrade, **(headers or {})}
        async with self.shop.http.stream(method, url or self.url, headers=sent, **body) as response:
            return response.status_code


# The rules. Each is proved by calls of the route: by one that it must refuse, and by one that it must not.


async def public(call: Call) -> None:
    """Anyone: no token is needed, and what is answered without one is for all."""
    assert await call.status() not in _REFUSED


async def signed_in(call: Call) -> None:
    """Any valid token."""
    assert await call.status() == 401
    assert await call.status(await call.shop.bearer()) not in _REFUSED


async def admin(call: Call) -> None:
    """An administrator's token. That it is admitted is tried in `tests/gateway/test_declared_rules.py`."""
    assert await call.status() == 401
    assert await call.status(await call.shop.bearer()) == 403


async def password(call: Call) -> None:
    """An account's email and password, in a form."""
    assert await call.status(data={"username": "demo@shop.test", "password": "wrong"}) == 401
    assert await call.status(data={"username": "demo@shop.test", "password": "demo"}) == 200


async def code(call: Call) -> None:
    """A code that an account has been shown a page for (OAuth 2.1, section 4.1.3)."""
    form = {"grant_type": "authorization_code", "code": "made-up", "client_id": "made-up", "code_verifier": "a" * 43}
    assert await call.status(data={**form, "redirect_uri": "http://localhost/"}) in (400, 401)


async def own_page(call: Call) -> None:
    """A form of our own page, with the password in it: no other site can send it (CSRF)."""
    form = {"answer": "allow", "email": "demo@shop.test", "password": "demo"}
    assert await call.status(_FOREIGN_ORIGIN, data=form) == 403
    own = {"Origin": call.shop.address("SHOP_GATEWAY_URL")}
    assert await call.status(own, data=form) not in _REFUSED


async def known_pages(call: Call) -> None:
    """A WebSocket for programs, and for pages of known origins; its messages bring the token."""
    assert await call.status(_FOREIGN_ORIGIN) == 403
    assert await call.status() == 101


async def closed_without_token(call: Call) -> None:
    """A WebSocket for signed-in callers: a page sees no status, so without a token it is closed with a code."""
    assert await call.status({**_UPGRADE, **_FOREIGN_ORIGIN}) == 403
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(call.url) as socket:
            closed = await socket.receive(timeout=20)
            assert (closed.data, closed.extra) == (UNAUTHENTICATED, "UNAUTHENTICATED")
        async with session.ws_connect(call.url, headers=await call.shop.bearer()) as socket:
            await socket.send_json({})
            assert (await socket.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT


async def signature(call: Call) -> None:
    """A signature over the body, by a secret that the provider shares with us."""
    for secret, status in (("made-up", 401), (call.shop.around.secrets["SHOP_WEBHOOK_SECRET_STRIPE"], 200)):
        webhook = senders.stripe("charge.updated", {"id": "ch_1"}, secret=secret)
        assert await call.status(webhook.headers, content=webhook.body) == status
    assert await call.status(content=b"{}") == 401


async def local(call: Call) -> None:
    """Anyone on the shop's own network: the page has no sign-in, and no name that a web site can have."""
    assert await call.status({"Host": "evil.example"}) == 403
    assert await call.status() not in _REFUSED


async def development(call: Call) -> None:
    """As `local`, and in development only. Only refusals are tried: each of these does something to the shop."""
    body: dict[str, Any] = {} if call.method == "GET" else {"json": {"do": "kill orders"}}
    assert await call.status({"Host": "evil.example"}, **body) == 403
    url = call.production + httpx.URL(call.url).path
    assert await call.status(url=url, **body) == 403


async def erp_session(call: Call) -> None:
    """A session of the ERP, for each operation but Login (`tests/legacy/test_operations.py` has them all)."""
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<GetShipmentStatus xmlns="urn:erp:sales:2004"><CustRef>order-1</CustRef></GetShipmentStatus>'
        "</e:Body></e:Envelope>"
    )
    answer = await call.shop.http.post(call.url, content=envelope, headers={"Content-Type": "text/xml"})
    assert (answer.status_code, "ERR-001" in answer.text) == (500, True)


async def no_page(call: Call) -> None:
    """Anyone who sends JSON, which a page of another site cannot do: the switches of a stand-in."""
    assert await call.status(content=b"{}", headers={"Content-Type": "text/plain"}) == 415
    assert await call.status(json={}) == 200


Rule = Callable[[Call], Awaitable[None]]

# Server -> rule -> the routes that it holds for. "WS" is a WebSocket.
RULES: Mapping[str, Mapping[Rule, str]] = {
    "gateway": {
        public: """
            GET /                                        GET /healthz
            GET /readyz                                  GET /metrics
            GET /docs                                    GET /docs/{asset}
            GET /openapi.json                            GET /asyncapi
            GET /asyncapi.json                           GET /asyncapi/assets/{name}
            GET /problems                                GET /problems/{slug}
            GET /graphql                                 POST /graphql
            GET /graphql/assets/{name}                   POST /v1/users
            GET /v1/products                             GET /v1/products/{product_id}
            GET /v1/availability                         GET /v1/products/{product_id}/availability
            GET /v1/files/{file_id}                      HEAD /v1/files/{file_id}
            GET /oauth/authorize                         POST /oauth/register
            GET /.well-known/jwks.json                   GET /.well-known/oauth-authorization-server
            GET /.well-known/oauth-protected-resource/mcp
        """,
        signed_in: """
            GET /v1/orders                               POST /v1/orders
            GET /v1/orders/{order_id}                    GET /v1/orders/{order_id}/events
            POST /v1/orders/{order_id}/cancel            POST /v1/files
            GET /v1/users                                GET /v1/users/me
            GET /v1/users/{user_id}                      POST /mcp
            GET /v1/webhook-endpoints                    POST /v1/webhook-endpoints
            GET /v1/webhook-endpoints/{endpoint_id}      PATCH /v1/webhook-endpoints/{endpoint_id}
            DELETE /v1/webhook-endpoints/{endpoint_id}   GET /v1/webhook-endpoints/{endpoint_id}/deliveries
            POST /v1/webhook-endpoints/{endpoint_id}/secret/rotate
            POST /v1/webhook-endpoints/{endpoint_id}/deliveries/{delivery_id}/redeliver
        """,
        admin: """
            POST /v1/products                            PUT /v1/products/{product_id}
            PATCH /v1/products/{product_id}              DELETE /v1/products/{product_id}
            GET /v1/reports/sales                        GET /v1/orders/{order_id}/xray
            POST /v1/audit
        """,
        password: "POST /v1/auth/token",
        code: "POST /oauth/token",
        own_page: "POST /oauth/authorize",
        known_pages: "WS /graphql   WS /graphql/ws",
    },
    "notifier": {
        public: """
            GET /              GET /healthz                     GET /readyz
            GET /metrics       OPTIONS /notifications           OPTIONS /notifications/stream
        """,
        signed_in: "GET /notifications/stream",
        closed_without_token: "GET /notifications",
    },
    "webhooks": {
        public: "GET /   GET /healthz   GET /readyz",
        signature: "POST /webhooks/{provider}",
    },
    "console": {
        local: """
            GET /                                        GET /healthz
            GET /readyz                                  GET /page/{file}
            POST /v1/traces                              POST /v1/logs
            GET /api/traces                              GET /api/traces/{trace_id}
            GET /api/traces/{trace_id}/hops              GET /api/traces/{trace_id}/events
            GET /api/traces/{trace_id}/otlp              GET /api/traces/{trace_id}/logs
            GET /api/orders/{order_id}/xray              GET /api/orders/{order_id}/logs
            GET /api/topology                            POST /api/compare
        """,
        development: """
            POST /api/play                               POST /api/audit
            GET /api/lessons                             POST /api/lessons/{number}/check
            GET /api/break                               POST /api/break
            GET /api/traces/{trace_id}/link              POST /api/links/watch
        """,
    },
    # The gateway is before it. A field needs what the REST routes need that answer it, with the caller's own token.
    "graphql_server": {public: "GET /healthz   GET /readyz   POST /graphql   WS /graphql   WS /graphql/ws"},
    "mcp_server": {public: "GET /healthz   GET /readyz", signed_in: "POST /mcp"},
    # Stand-ins for others: their own credentials, or none.
    "legacy_soap": {
        public: "GET /   GET /healthz   GET /readyz   GET /_faults",
        erp_session: "POST /",
        no_page: "POST /_faults",
    },
    "payment_provider": {
        public: """
            GET /                                        GET /healthz
            GET /readyz                                  GET /v1/events
            GET /v1/payment_intents                      POST /v1/payment_intents
            GET /v1/payment_intents/{id}                 POST /v1/payment_intents/{id}/cancel
            POST /v1/payment_intents/{id}/pay            POST /v1/payment_intents/{id}/fail
            GET /v1/refunds                              POST /v1/refunds
            POST /v1/orders/{order_id}/close
        """,
    },
    "smtp_sink": {public: "GET /   GET /healthz   GET /mails   GET /mails/{message_id:path}   GET /mailbox"},
    # Of processes that serve nothing else over HTTP.
    "health": {public: "GET /healthz   GET /readyz"},
    "metrics": {public: "GET /metrics"},
}


def rows(server: str) -> dict[str, Rule]:
    """The table's routes of a server, as "GET /path", each with its rule."""
    found = [(route, rule) for rule, routes in RULES[server].items() for route in re.findall(r"[A-Z]+ \S+", routes)]
    assert len(found) == len(dict(found)), f"{server} has a route twice"
    return dict(found)


# Server -> the setting of its address.
ADDRESSES = {
    "gateway": "SHOP_GATEWAY_URL",
    "notifier": "SHOP_NOTIFIER_URL",
    "webhooks": "SHOP_WEBHOOKS_URL",
    "console": "SHOP_CONSOLE_URL",
    "graphql_server": "SHOP_GRAPHQL_URL",
    "mcp_server": "SHOP_MCP_URL",
    "legacy_soap": "SHOP_LEGACY_SOAP_URL",
    "payment_provider": "SHOP_PAYMENT_URL",
    "smtp_sink": "SHOP_MAIL_URL",
}
# Server -> where its bootstrap has the application made: that one's router is compared with the table.
MADE_BY = {
    "gateway": "gateway.app.create_api",
    "notifier": "services.notifier.bootstrap.application",
    "webhooks": "webhooks.bootstrap.application",
    "console": "console.http_api.http_app",
    "payment_provider": "partners.payment_provider.bootstrap.application",
    "smtp_sink": "partners.smtp_sink.bootstrap.application",
}
# Server -> the modules that branch by path themselves, without a router: the paths that are written there.
BRANCH_IN: Mapping[str, tuple[ModuleType, ...]] = {
    "graphql_server": (graphql_server.app,),
    "mcp_server": (mcp_server.app,),
    "legacy_soap": (legacy_soap.http.wsgi, legacy_soap.http.parser),
    "health": (chassis.http.health,),
    "metrics": (chassis.observability.metrics_endpoint,),
}


def routes_of(app: Starlette | web.Application) -> Iterator[str]:
    """What its router has, as "GET /path". HEAD is left out where it is a GET without its content."""
    if isinstance(app, web.Application):
        # aiohttp makes a HEAD of each GET.
        for each in app.router.routes():
            if each.resource is not None and each.method != "HEAD":
                yield f"{each.method} {each.resource.canonical}"
        return
    for route in app.router.routes:
        assert isinstance(route, StarletteRoute), f"{route} is of a kind that this walk does not know"
        methods = route.methods or set()
        for method in methods - ({"HEAD"} if "GET" in methods else set()):
            yield f"{method} {re.sub('^/page/.*', '/page/{file}', route.path)}"


def paths_in(module: ModuleType) -> set[str]:
    """The paths that are written in a module's code."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    texts = {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return {text for text in texts if re.fullmatch(r"/[\w/]*", text)}


@dataclass(frozen=True)
class Running:
    """A shop with one of each server, the applications that it serves, and each server's address."""

    shop: Shop
    applications: Mapping[str, Starlette | web.Application]
    addresses: Mapping[str, str]
    production: str

    def routes(self, server: str) -> set[str]:
        """What the server itself has."""
        sockets = {f"WS {path}" for path in GATEWAY_SOCKETS} if server == "gateway" else set()
        return {*routes_of(self.applications[server]), *sockets}

    def call(self, server: str, route: str) -> Call:
        method, _, path = route.partition(" ")
        path = path.replace("{provider}", "stripe").replace("{file}", "app.js")
        return Call(self.shop, self.production, method, self.addresses[server] + re.sub(r"\{[\w:]+\}", "42", path))


async def _ready() -> bool:
    return True


@asynccontextmanager
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    applications: dict[str, Starlette | web.Application] = {}

    def recorded(server: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def recording(*args: Any, **kwargs: Any) -> Any:
            return applications.setdefault(server, make(*args, **kwargs))

        return recording

    with monkeypatch.context() as patch:
        for server, made_by in MADE_BY.items():
            patch.setattr(made_by, recorded(server, pkgutil.resolve_name(made_by)))
        async with shop_in_one_loop(tmp_path) as shop:
            patch.undo()
            health, metrics, page, otlp = free_ports(4)
            settings = console.Settings(env="production", data_dir=tmp_path, console_port=page, console_otlp_port=otlp)
            async with (
                console.run(settings),
                chassis.http.health.showing_health("127.0.0.1", health, _ready),
                chassis.observability.metrics_endpoint.showing_metrics("127.0.0.1", metrics),
            ):
                addresses = {server: shop.address(setting) for server, setting in ADDRESSES.items()}
                addresses |= {"health": f"http://127.0.0.1:{health}", "metrics": f"http://127.0.0.1:{metrics}"}
                yield Running(shop, applications, addresses, f"http://127.0.0.1:{page}")


def test_every_server_is_in_a_table() -> None:
    """Each port of the process table is a server of routes here, a server of gRPC methods there, or SMTP."""
    here = {*ADDRESSES.values(), *(setting for _, setting, _ in RPC_SERVERS), "SHOP_SMTP_ADDRESS"}
    there = {port.addresses[0] if port.addresses else port.setting for spec in TABLE for port in spec.ports}
    assert here == there
    assert RULES.keys() == {*ADDRESSES, "health", "metrics"} == {*MADE_BY, *BRANCH_IN}


def test_the_gateway_declares_what_the_table_says() -> None:
    """The rule that a route of the gateway declares is the table's."""
    declared: dict[Rule, identity.Rule] = {public: anyone, signed_in: identity.signed_in, admin: identity.admin}
    table = rows("gateway")
    for method, path, rule in GATEWAY_DECLARES:
        # The other rules are enforced by what such a route does itself.
        assert declared.get(table[f"{method} {path}"], anyone) is rule, (method, path)


async def test_every_route_keeps_its_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server has the table's routes and no other; called by whom its rule refuses and admits, each one keeps it."""
    wrong = []
    async with running(tmp_path, monkeypatch) as found:
        for server in MADE_BY:
            wrong += [
                f"{server} {route} is in the server or in the table alone"
                for route in found.routes(server) ^ rows(server).keys()
            ]
        for server, modules in BRANCH_IN.items():
            paths = {route.partition(" ")[2] for route in rows(server)}
            wrong += [
                f"{server} {path} is in the server or in the table alone"
                for path in set().union(*map(paths_in, modules)) ^ paths
            ]
        for server in RULES:
            for route, rule in rows(server).items():
                try:
                    await rule(found.call(server, route))
                except AssertionError as error:
                    wrong.append(f"{server} {route} is not {rule.__name__}: {error}")
    assert wrong == []
