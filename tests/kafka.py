"""Kafka-compatible brokers for tests, and topics of a test's own on them.

`tansu` is a broker that comes as a wheel; it lacks the idempotent producer. `mock` is librdkafka's mock cluster, in the
test's own process; it has it, and cannot delete topics. `kafka` is the broker that KAFKA_URL names (`host:9092`), on
which nothing is left behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka.admin import AdminClient

from bench.events.servers import tansu_command
from bench.roles import listens
from tests.shop import free_ports
from tests.waiting import eventually

KAFKA_URL = os.environ.get("KAFKA_URL", "").removeprefix("kafka://")
KINDS = ["tansu", "mock", *(["kafka"] if KAFKA_URL else [])]
PARTITIONS = 12


@dataclass
class OwnTopic:
    """The event log's URL for a topic that does not exist yet, and how to lose it."""

    url: str
    lose: Callable[[], Awaitable[None]]


@asynccontextmanager
async def tansu(port: int = 0, *, advertised: int = 0) -> AsyncIterator[str]:
    """The address of a broker of the test's own, which keeps everything in memory.

    `advertised`: the port at which its clients look for it, if that is another one.
    """
    port = port or free_ports(1)[0]
    address = f"127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        *await asyncio.to_thread(tansu_command, address, f"127.0.0.1:{advertised or port}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: listens(f"kafka://{address}"), within=30)
        yield address
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def own_topic(kind: str) -> AsyncIterator[OwnTopic]:
    """A topic's URL on a broker of one of `KINDS`."""
    topic = f"test-{uuid4().hex[:12]}"
    if kind == "mock":
        cluster = AdminClient({"test.mock.num.brokers": 3, "log_level": 0})
        found = await asyncio.to_thread(cluster.list_topics, timeout=20)
        servers = ",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values())

        async def cannot() -> None:
            raise NotImplementedError("the mock cluster cannot delete a topic")

        yield OwnTopic(f"kafka://{servers}/{topic}?topology=declared", cannot)
        return
    if kind == "tansu":
        async with tansu() as address:
            url = f"kafka://{address}/{topic}?idempotence=off&partitions={PARTITIONS}"
            yield OwnTopic(url, lambda: _delete(address, topic))
        return
    try:
        yield OwnTopic(f"kafka://{KAFKA_URL}/{topic}?partitions={PARTITIONS}", lambda: _delete(KAFKA_URL, topic))
    finally:
        await _delete(KAFKA_URL, topic)


async def _delete(servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
