"""The two brokers, each test with its own queues, and nothing of them left behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

from chassis.broker import connect
from chassis.broker.event_log import EventLog
from chassis.broker.port import Broker
from chassis.broker.retention import Retention
from tests.contract.events import TOPOLOGY
from tests.contract.logs import LOGS, LogUnderTest, log_under_test

RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")

Connect = Callable[..., Awaitable[Broker]]


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A broker that holds nothing yet."""
    if request.param == "embedded":
        yield f"embedded:{tmp_path / 'broker.sqlite'}"
        return
    prefix = f"test-{uuid4().hex[:12]}."
    try:
        yield f"{RABBITMQ_URL}?prefix={prefix}"
    finally:
        await remove(prefix)


@pytest.fixture
async def connected(broker_url: str) -> AsyncIterator[Connect]:
    """Connects to the test's broker, as often as it likes."""
    brokers: list[Broker] = []

    async def connect_once_more(url: str = broker_url, retention: Retention | None = None) -> Broker:
        brokers.append(await connect(url, TOPOLOGY, retention=retention))
        return brokers[-1]

    yield connect_once_more
    for broker in brokers:
        await broker.close()


@pytest.fixture
async def broker(connected: Connect) -> Broker:
    """One connection to the test's broker."""
    return await connected()


@pytest.fixture(params=LOGS)
async def logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LogUnderTest]:
    """Each event log in turn."""
    async with log_under_test(request.param, tmp_path) as found:
        yield found


@pytest.fixture
async def log(logs: LogUnderTest) -> EventLog:
    """One connection to the test's event log."""
    return await logs.open()


async def remove(prefix: str) -> None:
    """Delete what a prefix's topology left on RabbitMQ."""
    async with await aio_pika.connect(RABBITMQ_URL) as connection, connection.channel() as channel:
        for queue in TOPOLOGY.queues:
            for suffix in ("", ".retry", ".dead"):
                await channel.queue_delete(prefix + queue + suffix)
        await channel.queue_delete(prefix + TOPOLOGY.log)
        await channel.exchange_delete(prefix + TOPOLOGY.exchange)
