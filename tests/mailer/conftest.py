"""A mailer with all it needs: the real users, the real broker, and the SMTP sink."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.settings import TOPOLOGY
from partners.smtp_sink import bootstrap as smtp_sink
from services.mailer import bootstrap as mailer
from services.users import bootstrap as users
from tests.conftest import own_postgres
from tests.shop import free_ports

SECRET = "mailer's own"


class PlainPasswords:
    """Fake: hashes nothing, so that the demo accounts are there at once."""

    async def hash(self, password: str) -> str:
        return password

    async def matches(self, password: str, password_hash: str | None) -> bool:
        return password == password_hash


def order_event(kind: str, *, order_id: str = "", user_id: str = "123", **facts: str) -> Event:
    """An event as orders publishes it."""
    order_id = order_id or uuid4().hex
    data = json.dumps({"order_id": order_id, "user_id": user_id, **facts}).encode()
    extensions = {"userid": user_id, "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    return Event(uuid4().hex, f"order.{kind}", "/orders", order_id, datetime.now(UTC), data, extensions)


@dataclass
class Post:
    """What surrounds the mailer of one test."""

    data_dir: Path
    broker_url: str
    broker: Broker
    users_port: int
    sink: smtp_sink.Listening
    http: httpx.AsyncClient
    database_url: str = ""

    @asynccontextmanager
    async def users(self) -> AsyncIterator[None]:
        settings = users.Settings(
            data_dir=self.data_dir, otlp_url="", users_port=self.users_port, service_secrets={"mailer": SECRET}
        )
        async with users.run(settings, passwords=PlainPasswords()):
            yield

    @asynccontextmanager
    async def mailer(self, **changes: Any) -> AsyncIterator[None]:
        settings = mailer.Settings(
            **{
                "data_dir": self.data_dir,
                "otlp_url": "",
                "broker_url": self.broker_url,
                "database_url": self.database_url,
                "users_address": f"127.0.0.1:{self.users_port}",
                "smtp_address": f"127.0.0.1:{self.sink.smtp_port}",
                "service_secret": SECRET,
                "call_timeout": 15.0,  # of a busy machine, too
                "retry_delays": (0.1, 0.1, 0.2, 0.5, 1.0),
                **changes,
            }
        )
        async with mailer.run(settings):
            yield

    async def mails(self, order_id: str = "") -> list[dict[str, Any]]:
        """The sink's list, newest first."""
        found: list[dict[str, Any]] = (await self.http.get("/mails", params={"order_id": order_id})).json()
        return found

    async def settled(self) -> bool:
        """Whether no event is waiting, nor held by a consumer."""
        depths = {depth.queue: depth for depth in await self.broker.depths()}
        return depths["order-mail"].ready + depths["order-mail"].delayed == 0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    """A broker and a sink, and each database in turn; the test starts users and mailer as it needs them."""
    databases = own_postgres() if request.param == "postgresql" else nullcontext("")
    async with databases as database_url, surroundings(tmp_path, database_url) as found:
        yield found


@asynccontextmanager
async def surroundings(tmp_path: Path, database_url: str) -> AsyncIterator[Post]:
    broker_url = f"embedded:{tmp_path / 'broker.sqlite'}"
    broker = await connect(broker_url, Topology.load(TOPOLOGY))
    settings = smtp_sink.Settings(data_dir=tmp_path, smtp_port=0, mail_port=0)
    async with (
        smtp_sink.run(settings) as sink,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{sink.mail_port}", timeout=60) as http,
    ):
        yield Post(tmp_path, broker_url, broker, free_ports(1)[0], sink, http, database_url)
    await broker.close()
