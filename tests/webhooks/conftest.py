"""Both processes of webhooks on free ports, and a fake of the shop that records their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.broker import connect
from chassis.broker.port import DeadLetter, Topology
from chassis.database.database import Database, database
from chassis.errors import ShopError
from chassis.settings import TOPOLOGY
from partners.senders import SignedWebhook
from tests.conftest import own_postgres
from tests.rabbitmq import own_rabbitmq
from webhooks.bootstrap import MIGRATIONS, Settings, run
from webhooks.worker import WorkerSettings, run_worker

SECRETS = {
    "stripe": "stripe-secret",
    "github": "github-secret",
    "shopify": "shopify-secret",
    "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


@dataclass
class FakeShop:
    """A working shop in memory: the calls it got, in order; `failure` is what it answers, `open` whether it does."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    failure: ShopError | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def _tell(self, *news: Any) -> None:
        await self.open.wait()
        if self.failure:
            raise self.failure
        self.told.append(news)

    async def mark_paid(self, order_id: str, payment_id: str) -> None:
        await self._tell("paid", order_id, payment_id)

    async def mark_payment_failed(self, order_id: str, payment_id: str, reason: str) -> None:
        await self._tell("payment failed", order_id, payment_id, reason)

    async def place_channel_order(self, channel: str, channel_order_id: str, items: Sequence[tuple[str, int]]) -> None:
        await self._tell("channel order", channel, channel_order_id, list(items))

    async def refresh_material(self, product_id: str, event_id: str, refreshed_at: datetime) -> None:
        await self._tell("refreshed", product_id, event_id)

    async def record_delivery(self, order_id: str, carrier: str, delivered_at: datetime) -> None:
        await self._tell("delivered", order_id, carrier, delivered_at.isoformat())


@dataclass
class Receiver:
    """Both running processes, their settings, and a client to the one that receives."""

    settings: Settings
    worker: WorkerSettings
    shop: FakeShop
    http: httpx.AsyncClient

    async def send(self, webhook: SignedWebhook, **headers: str) -> httpx.Response:
        path = f"/webhooks/{webhook.provider}"
        return await self.http.post(path, content=webhook.body, headers={**webhook.headers, **headers})

    async def rows(self) -> Sequence[Mapping[str, Any]]:
        """The store's rows, oldest first."""
        async with self.database() as db, db.reading() as connection:
            found = await connection.exec_driver_sql("SELECT * FROM webhooks ORDER BY received_at")
            return [dict(row) for row in found.mappings()]

    async def dead_letters(self) -> list[DeadLetter]:
        broker = await connect(self.settings.broker(), Topology.load(TOPOLOGY))
        try:
            return await broker.dead_letters("webhook-processing")
        finally:
            await broker.close()

    def database(self) -> AbstractAsyncContextManager[Database]:
        """The processes' database, seen from another connection."""
        return database(self.settings.database("webhooks"), MIGRATIONS)


Start = Callable[..., AbstractAsyncContextManager[Receiver]]


def settings_for(directory: Path, **chosen: Any) -> Settings:
    secrets = {f"webhook_secret_{provider}": secret for provider, secret in SECRETS.items()}
    fixed: dict[str, Any] = {"data_dir": directory, "otlp_url": "", "webhooks_port": 0}
    return Settings(**{**fixed, **secrets, **_of(Settings, chosen)})


def worker_settings_for(directory: Path, **chosen: Any) -> WorkerSettings:
    """Patience for tests, and addresses of this machine as targets."""
    fixed: dict[str, Any] = {
        "data_dir": directory,
        "otlp_url": "",
        "webhooks_grpc_port": 0,
        "retry_delays": (0.05, 0.1),
        "webhooks_allow_private": True,
        "webhooks_delivery_delays": (0.05, 0.1),
    }
    return WorkerSettings(**{**fixed, **_of(WorkerSettings, chosen)})


def _of(kind: type[Settings | WorkerSettings], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that a process has."""
    return {name: value for name, value in chosen.items() if name in kind.model_fields}


@pytest.fixture(params=["embedded", pytest.param("servers", marks=[pytest.mark.postgres, pytest.mark.rabbitmq])])
async def backends(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, str]]:
    """Settings: for what a laptop has (SQLite and the embedded broker), then for PostgreSQL and RabbitMQ."""
    if request.param == "embedded":
        yield {}
        return
    async with own_postgres() as database_url, own_rabbitmq(Topology.load(TOPOLOGY)) as broker_url:
        yield {"database_url": database_url, "broker_url": broker_url}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start both processes in this event loop; what they store outlives them."""

    @asynccontextmanager
    async def started(*, shop: FakeShop | None = None, **chosen: Any) -> AsyncIterator[Receiver]:
        settings, worker = settings_for(tmp_path, **chosen), worker_settings_for(tmp_path, **chosen)
        shop = shop or FakeShop()
        async with (
            run(settings) as running,
            run_worker(worker, shop=shop),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as http,
        ):
            yield Receiver(settings, worker, shop, http)

    return started


@pytest.fixture
async def receiver(start: Start) -> AsyncIterator[Receiver]:
    async with start() as receiver:
        yield receiver
