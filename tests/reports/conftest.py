"""Copies of reports as real processes, on each event log in turn."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.settings import TOPOLOGY
from protos.shop.reports.v1 import reports_pb2 as pb
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub
from tests import kafka
from tests.conftest import own_postgres
from tests.contract.logs import LOGS
from tests.rabbitmq import own_rabbitmq
from tests.services.conftest import Service, fake_users, reached

SHOP_TOPOLOGY = Topology.load(TOPOLOGY)
# Seconds: short, so that a test need not wait long for a dead copy's partitions.
LEASE = 1.0


@dataclass
class Copy:
    """A running copy: its process, and its API."""

    process: asyncio.subprocess.Process
    api: Service

    async def sales(self, by: str = "day", **asked: Any) -> pb.GetSalesResponse:
        """The report of March 2026, as an admin is given it."""
        days = {"first_day": "2026-03-01", "last_day": "2026-03-31"}
        wanted = pb.SalesBy.Value(f"SALES_BY_{by.upper()}")
        answer: pb.GetSalesResponse = await self.api.admin.call(
            "GetSales", pb.GetSalesRequest(**{**days, "by": wanted, "page_size": 100, **asked})
        )
        return answer

    async def totals(self) -> tuple[int, Decimal]:
        """Orders and revenue of all days, in whatever currency."""
        rows = (await self.sales()).rows
        return sum(row.orders for row in rows), sum((Decimal(row.revenue) for row in rows), Decimal("0.00"))

    async def rebuild(self) -> pb.Rebuild:
        answer: pb.StartRebuildResponse = await self.api.admin.call("StartRebuild", pb.StartRebuildRequest())
        return answer.rebuild

    async def newest(self) -> pb.Rebuild:
        answer: pb.GetRebuildResponse = await self.api.admin.call("GetRebuild", pb.GetRebuildRequest())
        return answer.rebuild

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@dataclass
class Log:
    """An event log, a database for reports, and copies of it on both."""

    env: dict[str, str]
    broker: Broker
    stack: AsyncExitStack

    async def append(self, events: Sequence[Event]) -> None:
        for begin in range(0, len(events), 200):
            await self.broker.log.append(events[begin : begin + 200])

    async def spawn(self, *arguments: str, **env: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.reports.copy_process", *arguments,
            env={**os.environ, **self.env, **env}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.stack.push_async_callback(_ended, process)
        return process

    async def copy(self, **env: str) -> Copy:
        """Another copy, which serves."""
        process = await self.spawn(**env)
        port = int(await said(process))
        return Copy(process, await self.stack.enter_async_context(reached(ReportServiceStub, port)))


async def said(process: asyncio.subprocess.Process) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().strip()


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def log_of(kind: str, folder: Path, database_url: str = "") -> AsyncIterator[Log]:
    """An event log of a kind of `LOGS` that holds nothing yet."""
    async with AsyncExitStack() as stack:
        broker_url, log_url = f"embedded:{folder / 'broker.sqlite'}", ""
        if kind == "rabbitmq":
            broker_url = await stack.enter_async_context(own_rabbitmq(SHOP_TOPOLOGY))
        elif kind in kafka.KINDS:
            log_url = (await stack.enter_async_context(kafka.own_topic(kind))).url
        users = await stack.enter_async_context(fake_users())
        broker = await connect(broker_url, SHOP_TOPOLOGY, log_url=log_url)
        stack.push_async_callback(broker.close)
        env = {
            "SHOP_DATA_DIR": str(folder),
            "SHOP_BROKER_URL": broker_url,
            "SHOP_EVENT_LOG_URL": log_url,
            "SHOP_DATABASE_URL": database_url,
            "SHOP_USERS_ADDRESS": f"127.0.0.1:{users}",
            "SHOP_OTLP_URL": "",
            "SHOP_REPORTS_PORT": "0",
            "SHOP_REPORTS_LEASE": str(LEASE),
            "SHOP_LOG_FORMAT": "text",
        }
        yield Log(env, broker, stack)


@pytest.fixture(params=LOGS)
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """Each event log in turn, with reports on SQLite."""
    async with log_of(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """The embedded log, with reports on each database in turn."""
    databases = own_postgres() if request.param == "postgresql" else nullcontext("")
    async with databases as url, log_of("embedded", tmp_path, url) as found:
        yield found
