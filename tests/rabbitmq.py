"""Queues of a test's own on a RabbitMQ that others use too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aio_pika

from chassis.broker.port import Topology
from tests.conftest import RABBITMQ_URL


@asynccontextmanager
async def own_rabbitmq(topology: Topology) -> AsyncIterator[str]:
    """A broker URL under whose prefix nothing exists yet; what then exists is deleted at the end."""
    prefix = f"test-{uuid4().hex[:12]}."
    try:
        yield f"{RABBITMQ_URL}?prefix={prefix}"
    finally:
        await _delete(prefix, topology)


async def lose(url: str, topology: Topology) -> None:
    """Lose everything that the broker at this URL holds, RabbitMQ or embedded, while processes are connected to it."""
    if url.startswith("embedded:"):
        await asyncio.to_thread(_unlink, url.removeprefix("embedded:"))
    else:
        await _delete(url.partition("?prefix=")[2], topology)


def _unlink(file: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(file + suffix).unlink(missing_ok=True)


async def _delete(prefix: str, topology: Topology) -> None:
    async with await aio_pika.connect(RABBITMQ_URL) as connection, connection.channel() as channel:
        for queue in topology.queues:
            for suffix in ("", ".retry", ".dead"):
                await channel.queue_delete(prefix + queue + suffix)
        await channel.queue_delete(prefix + topology.log)
        await channel.exchange_delete(prefix + topology.exchange)
