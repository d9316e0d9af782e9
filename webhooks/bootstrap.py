"""The composition root of the process that receives webhooks: it verifies and stores them, and does nothing else.

All the rest is the worker's (`webhooks.worker`), which may be slow, or down, without a partner noticing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from chassis.http.middleware import HttpBoundary
from chassis.process import Running
from chassis.service import service
from chassis.settings import ProcessSettings
from chassis.webpages.start_page import StartPage
from webhooks.incoming.domain import PROVIDERS
from webhooks.incoming.http_api import SINGULAR_HEADERS, application
from webhooks.incoming.intake import new_id, open_intake
from webhooks.incoming.ports import Intake
from webhooks.incoming.use_cases import Receiving
from webhooks.start_page import ABOUT, EXAMPLE, LINKS

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    webhooks_port: int = 8002
    # Secrets that a provider signs with; several, comma-separated, while one is being rotated.
    webhook_secret_stripe: str = ""
    webhook_secret_github: str = ""
    webhook_secret_shopify: str = ""
    webhook_secret_standard: str = ""


@asynccontextmanager
async def run(settings: Settings | None = None, *, intake: Intake | None = None) -> AsyncIterator[Running]:
    """Receive webhooks over HTTP until the block ends."""
    settings = settings or Settings()
    keys = signing_keys(settings)
    async with service("webhooks", settings) as s:
        if intake is None:
            await s.migrate("webhooks", MIGRATIONS)
            intake = await s.enter(open_intake(settings.database("webhooks")))
        start = StartPage.of("Webhooks", ABOUT, *LINKS, example=EXAMPLE, env=settings.env)
        api = application(Receiving(intake, keys, new_id), intake.healthy, start)
        app = HttpBoundary(api, s.telemetry, protocol_of=_protocol)
        yield Running(await s.serve_http(app, settings.webhooks_port, singular=SINGULAR_HEADERS))


def _protocol(_: str) -> str:
    return "webhook"


def signing_keys(settings: Settings) -> Mapping[str, Sequence[bytes]]:
    """Each provider's keys. Raises `ValueError` naming a setting without which signatures would prove nothing."""
    keys: dict[str, list[bytes]] = {}
    for name, provider in PROVIDERS.items():
        setting = f"SHOP_WEBHOOK_SECRET_{name.upper()}"
        text: str = getattr(settings, f"webhook_secret_{name}")
        try:
            keys[name] = [provider.key(secret) for part in text.split(",") if (secret := part.strip())]
        except ValueError as error:
            message = f"{setting}: {error}"
            raise ValueError(message) from error
        if not all(keys[name]) or not keys[name]:
            message = f"{setting} is missing: webhooks of {name} could not be verified"
            raise ValueError(message)
    return keys
