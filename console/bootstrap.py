"""The composition root of the console: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from chassis.grpc.server import serve
from chassis.http.middleware import Identified
from chassis.observability.capture.http import httpx_hooks
from chassis.observability.tracing import Telemetry
from chassis.process import Running
from chassis.service import Service, service
from chassis.settings import AtLeastOne, ProcessSettings
from console.grpc_api import POLICY, OtlpApi, register
from console.http_api import ConsoleApi, Development
from console.play.events import EventCalls
from console.play.grpc_calls import GrpcCalls
from console.play.http_calls import HttpCalls
from console.play.listener import Listener
from console.play.log_reading import LogReading
from console.play.own_spans import client_telemetry
from console.play.player import Play
from console.play.streams import StreamCalls
from console.served_hosts import Names, ServedHosts
from console.store import Bounds, TraceStore
from console.views.audit import Audits
from console.views.breaking import Breaking
from console.views.lessons import Lessons
from console.views.link_tap import LinkTap


class Settings(ProcessSettings):
    console_port: int = 8003
    # OTLP over gRPC.
    console_otlp_port: int = 4317
    # Further names under which the page may be opened, comma-separated: without sign-in, it answers only under
    # addresses, localhost and names without a dot (DNS rebinding).
    console_hosts: Names = ()
    # A process that the page may call, in development.
    gateway_url: str = "http://127.0.0.1:8000"
    webhooks_url: str = "http://127.0.0.1:8002"
    notifier_url: str = "http://127.0.0.1:8001"
    catalog_address: str = "127.0.0.1:50052"
    reports_address: str = "127.0.0.1:50058"
    # The ERP, and the development's mail server; empty where they are not to be called from here.
    legacy_soap_url: str = ""
    mail_url: str = ""
    # The shop's account at the ERP.
    legacy_soap_user: str = "SHOP"
    # The password of the shop's account at the ERP.
    legacy_soap_password: str = "shop"  # noqa: S105 - a demo account of their system
    # Secrets that webhooks of this provider are signed with, comma-separated while one is rotated.
    webhook_secret_stripe: str = ""
    # Control socket of the lab's links, to show their frames; empty without a lab (`shop up --lab` sets it).
    link_proxy_socket: str = ""
    # The largest export, in bytes.
    console_max_body: AtLeastOne = 4 << 20
    # The most traces that are kept in memory; the oldest go first.
    console_max_traces: AtLeastOne = 1_000
    # The most spans that are kept in memory; the oldest traces go first.
    console_max_spans: AtLeastOne = 30_000
    # The most bytes of spans that are kept in memory; the oldest traces go first.
    console_max_bytes: AtLeastOne = 64 << 20


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Receive and show spans until the block ends."""
    settings = settings or Settings()
    bounds = Bounds(settings.console_max_traces, settings.console_max_spans, settings.console_max_bytes)
    store = TraceStore(bounds)
    # Its own spans go nowhere: each export received would be another span to export.
    async with service("console", settings, telemetry=Telemetry("console", sample_ratio=0)) as s:
        otlp = serve(
            (register, OtlpApi(store)),
            policy=POLICY,
            verifier=None,
            telemetry=s.telemetry,
            host=settings.host,
            port=settings.console_otlp_port,
            reflection=settings.env == "development",
        )
        await s.enter(otlp)
        development = Development()
        if settings.env == "development":
            development = await s.enter(_development(s, settings, store))
        api = ConsoleApi(store, max_body=settings.console_max_body, development=development)
        port = await s.serve_http(ServedHosts(Identified(api.app()), settings.console_hosts), settings.console_port)
        if development.breaking is not None:
            # Before the server drains, which may take half of the time that the supervisor gives.
            s.on_end(development.breaking.end)
        yield Running(port)


@asynccontextmanager
async def _development(s: Service, settings: Settings, store: TraceStore) -> AsyncIterator[Development]:
    shop = {"SHOP_DATA_DIR": str(settings.data_dir)}
    breaking = Breaking(shop)
    async with _playing(s, settings, store) as play:
        try:
            yield Development(play, Audits(), Lessons(shop), breaking, LinkTap(settings.link_proxy_socket))
        finally:
            await breaking.close()


@asynccontextmanager
async def _playing(s: Service, settings: Settings, store: TraceStore) -> AsyncIterator[Play]:
    """The calls that the page makes, to these processes only."""
    trust = settings.trust()
    telemetry = client_telemetry(store)
    targets = {
        "gateway": settings.gateway_url,
        "webhooks": settings.webhooks_url,
        "legacy_soap": settings.legacy_soap_url.rstrip("/"),
        "smtp_sink": settings.mail_url,
    }
    secrets = {
        "stripe": settings.webhook_secret_stripe.partition(",")[0].strip(),
        "erp_user": settings.legacy_soap_user,
        "erp_password": settings.legacy_soap_password,
    }
    listener = Listener(f"{settings.notifier_url.replace('http', 'ws', 1)}/notifications", trust)
    # Not the hook for responses, which would read all of each: their calls keep what they read.
    hooks = {"request": httpx_hooks(telemetry).get("request", [])}
    catalog, reports = await s.channel(settings.catalog_address), await s.channel(settings.reports_address)
    async with httpx.AsyncClient(trust_env=False, verify=trust or True, event_hooks=hooks) as http:
        try:
            yield Play(
                telemetry,
                HttpCalls(http, {name: url for name, url in targets.items() if url}, telemetry),
                GrpcCalls({"catalog": catalog}, telemetry),
                StreamCalls(settings.notifier_url, trust, telemetry),
                EventCalls(settings.broker(), settings.event_log_url, telemetry),
                listener,
                LogReading(reports),
                secrets,
            )
        finally:
            await listener.close()
            telemetry.close()
