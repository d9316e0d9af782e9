"""Queues of a test's own on a RabbitMQ that others use too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
        async with await aio_pika.connect(RABBITMQ_URL) as connection, connection.channel() as channel:
            for queue in topology.queues:
                for suffix in ("", ".retry", ".dead"):
                    await channel.queue_delete(prefix + queue + suffix)
            await channel.queue_delete(prefix + topology.log)
            await channel.exchange_delete(prefix + topology.exchange)
