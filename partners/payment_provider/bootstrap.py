"""The composition root of the payment provider: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from chassis.background import background
from chassis.http.middleware import HttpBoundary
from chassis.http.server import serve_http
from chassis.observability.capture.http import aiohttp_middlewares
from chassis.process import Running
from chassis.settings import NotNegative, ProcessSettings
from chassis.webpages.start_page import StartPage
from partners.payment_provider.http_api import ABOUT, EXAMPLE, LINKS, PaymentApi, application
from partners.payment_provider.ledger import open_ledger
from partners.payment_provider.settlement import Settlement
from partners.payment_provider.webhook_sender import WebhookSender


class Settings(ProcessSettings):
    payment_port: int = 8021
    # Delay between the request for a payment and its collection, in seconds.
    payment_delay: NotNegative = 1.0
    webhooks_url: str = "http://127.0.0.1:8002"
    # The first of several, comma-separated, signs.
    webhook_secret_stripe: str = ""


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Take payments over HTTP and send the shop webhooks about them until the block ends."""
    settings = settings or Settings()
    secret = settings.webhook_secret_stripe.partition(",")[0].strip()
    if not secret:
        raise ValueError("SHOP_WEBHOOK_SECRET_STRIPE is missing: the shop could not verify our webhooks")
    async with (
        settings.telemetry("payment_provider", serves_http=True) as spans,
        open_ledger(settings.data_dir / "payment_provider.sqlite") as ledger,
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=aiohttp_middlewares(spans),
        ) as client,
    ):
        settlement = Settlement(
            ledger, WebhookSender(client, settings.webhooks_url, secret, spans), delay=settings.payment_delay
        )
        api = PaymentApi(ledger, settlement.wake, delay=settings.payment_delay)
        start = StartPage.of("Payment provider", ABOUT, *LINKS, example=EXAMPLE, env=settings.env)
        app = HttpBoundary(application(api, start), spans, protocol_of=lambda _: "HTTP")
        async with (
            background(settlement.run()),
            serve_http(app, host=settings.host, port=settings.payment_port) as port,
        ):
            yield Running(port)
