"""What a shop stands on while its orders are measured: databases and a broker of its own, removed at the end."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import aio_pika
import asyncpg
import psutil

from bench.roles import listens
from chassis.broker import cloudevents
from chassis.broker import connect as connect_broker
from chassis.broker.event_log import Position
from chassis.broker.port import Topology
from chassis.broker.topics import matches
from chassis.settings import TOPOLOGY

EMBEDDED = "embedded + SQLite"
SERVERS = "RabbitMQ + PostgreSQL"
NO_STATEMENTS = "statements: counted by the processes alone, PostgreSQL does not run with pg_stat_statements"


@dataclass(frozen=True, slots=True)
class Counts:
    """What PostgreSQL has counted so far, by service; `syncs` is the whole server's.

    `statements` is None where it does not count them.
    """

    commits: Mapping[str, int]
    syncs: int
    statements: Mapping[str, int] | None


@dataclass
class Engine:
    """`settings` choose it; `postgres` and `rabbitmq` are the servers' URLs, empty on the embedded default."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    postgres: str = ""
    rabbitmq: str = ""
    prefix: str = ""

    def broker(self, data_dir: str) -> str:
        return self.settings.get("SHOP_BROKER_URL") or f"embedded:{data_dir}/broker.sqlite"

    async def cpu(self) -> dict[str, float]:
        """Seconds of processor time of the servers so far: of our own database sessions, and of the whole broker."""
        if not self.postgres:
            return {}
        sessions = sum(_cpu(pid) for pid in await self._sessions())
        brokers = [process.pid for process in psutil.process_iter(["name"]) if process.info["name"] == "beam.smp"]
        return {"postgresql": sessions, "rabbitmq (whole)": sum(map(_cpu, brokers))}

    async def counts(self) -> Counts | None:
        """None on the embedded default."""
        return await self._counts() if self.postgres else None

    async def _sessions(self) -> list[int]:
        rows = await self._ask("SELECT pid FROM pg_stat_activity WHERE starts_with(datname, $1)", self.prefix)
        return [int(row["pid"]) for row in rows]

    async def _counts(self) -> Counts:
        mine = "starts_with(datname, $1)"
        commits = await self._by_service(f"SELECT datname, xact_commit FROM pg_stat_database WHERE {mine}")  # noqa: S608
        syncs = await self._ask("SELECT wal_sync FROM pg_stat_wal")
        called = "SELECT datname, sum(calls) FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid"
        try:
            statements = await self._by_service(f"{called} WHERE {mine} GROUP BY datname")
        except asyncpg.PostgresError:
            return Counts(commits, int(syncs[0][0]), None)
        return Counts(commits, int(syncs[0][0]), statements)

    async def _by_service(self, query: str) -> dict[str, int]:
        rows = await self._ask(query, self.prefix)
        return {str(name).removeprefix(self.prefix): int(count) for name, count in rows}

    async def _ask(self, query: str, *values: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(f"{self.postgres}/postgres")
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()


def embedded() -> Engine:
    return Engine(EMBEDDED)


@contextmanager
def servers(postgres: str, rabbitmq: str) -> Iterator[Engine | None]:
    """PostgreSQL and RabbitMQ, everything under names of its own; None where one of them does not listen."""
    if not (listens(postgres) and listens(rabbitmq)):
        yield None
        return
    prefix = f"bench_{uuid.uuid4().hex[:8]}_"
    settings = {
        "SHOP_DATABASE_URL": f"{postgres}/{prefix}{{service}}",
        "SHOP_BROKER_URL": f"{rabbitmq}?prefix={prefix}",
    }
    try:
        yield Engine(SERVERS, settings, postgres, rabbitmq, prefix)
    finally:
        asyncio.run(_remove(postgres, rabbitmq, prefix))


async def _remove(postgres: str, rabbitmq: str, prefix: str) -> None:
    topology = Topology.load(TOPOLOGY)
    async with await aio_pika.connect(rabbitmq) as connection, connection.channel() as channel:
        for queue in (f"{name}{end}" for name in topology.queues for end in ("", ".retry", ".dead")):
            await channel.queue_delete(prefix + queue)
        await channel.queue_delete(prefix + topology.log)
        await channel.exchange_delete(prefix + topology.exchange)
    server = await asyncpg.connect(f"{postgres}/postgres")
    for row in await server.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix):
        await server.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')
    await server.close()


@dataclass
class Traffic:
    """What went over the broker: events by type, and bytes of headers and data, once for each queue and the log."""

    types: Counter[str] = field(default_factory=Counter)
    size: int = 0


async def position(url: str) -> Position:
    """Where the event log is now."""
    broker = await connect_broker(url, Topology.load(TOPOLOGY))
    try:
        return await broker.log.last_position()
    finally:
        await broker.close()


async def traffic(url: str, after: Position) -> Traffic:
    """All that was published since a position of the log."""
    topology = Topology.load(TOPOLOGY)
    broker = await connect_broker(url, topology)
    found = Traffic()
    try:
        last = await broker.log.last_position()
        async with broker.log.tail(after, upto=last) as log:
            async for entry in log:
                event = entry.event
                copies = 1 + sum(any(matches(p, event.type) for p in bound) for bound in topology.queues.values())
                found.types[event.type] += 1
                sizes = (len(name) + len(value) for name, value in cloudevents.headers(event).items())
                found.size += copies * (len(event.data) + sum(sizes))
        return found
    finally:
        await broker.close()


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
