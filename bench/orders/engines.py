"""Engines of a shop whose orders are measured: databases and a broker of its own, removed at the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import aio_pika
import asyncpg
import psutil

from bench.roles import cpu_seconds, listens, own_databases
from chassis.broker import cloudevents
from chassis.broker import connect as connect_broker
from chassis.broker.event_log import Position
from chassis.broker.port import Topology
from chassis.broker.topics import matches
from chassis.settings import TOPOLOGY

EMBEDDED = "embedded + SQLite"
SERVERS = "RabbitMQ + PostgreSQL"
# Until version 17, and from 18 on.
_SYNCS = ("SELECT wal_sync FROM pg_stat_wal", "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'")
NO_SESSIONS = "processor time of PostgreSQL: NOT COUNTED: its processes are not visible here"
NO_STATEMENTS = "statements: counted by the processes alone, PostgreSQL does not run with pg_stat_statements"


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of PostgreSQL so far, by service; `syncs` is the whole server's.

    `statements` and `syncs` are None where it does not count them.
    """

    commits: Mapping[str, int]
    syncs: int | None
    statements: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time so far, by process id: of our own sessions at PostgreSQL, and of the whole broker.

    `sessions` is None where PostgreSQL's processes are not visible here, as in a container: its ids are none of ours.
    """

    sessions: Mapping[int, float] | None = field(default_factory=dict)
    brokers: Mapping[int, float] = field(default_factory=dict)

    def since(self, before: Spent) -> dict[str, float]:
        """Seconds since then, of each server whose processes are visible."""
        found = {}
        if self.sessions is not None and before.sessions is not None:
            found["postgresql"] = _grown(before.sessions, self.sessions)
        return {**found, "rabbitmq (whole)": _grown(before.brokers, self.brokers)}


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

    async def spent(self, database: str = "") -> Spent:
        """Processor time of the servers so far; `database`: of the sessions of this one alone."""
        if not self.postgres:
            return Spent()
        brokers = [process.pid for process in psutil.process_iter(["name"]) if process.info["name"] == "beam.smp"]
        return Spent(await self._sessions(self.prefix + database), {pid: _cpu(pid) for pid in brokers})

    async def _sessions(self, databases: str) -> dict[int, float] | None:
        rows = await self._ask("SELECT pid FROM pg_stat_activity WHERE starts_with(datname, $1)", databases)
        pids = [int(row["pid"]) for row in rows]
        ours = [pid for pid in pids if _is_session(pid, self.prefix)]
        # Of several, one may have ended since; where none is to be seen, they are another machine's.
        return {pid: _cpu(pid) for pid in ours} if ours or not pids else None

    async def counts(self) -> Counts | None:
        """Counts of PostgreSQL; None on the embedded default."""
        return await self._counts() if self.postgres else None

    async def _counts(self) -> Counts:
        mine = "starts_with(datname, $1)"
        commits = await self._by_service(f"SELECT datname, xact_commit FROM pg_stat_database WHERE {mine}")  # noqa: S608
        syncs = await self._syncs()
        called = "SELECT datname, sum(calls) FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid"
        try:
            statements = await self._by_service(f"{called} WHERE {mine} GROUP BY datname")
        except asyncpg.PostgresError:
            return Counts(commits, syncs, None)
        return Counts(commits, syncs, statements)

    async def _syncs(self) -> int | None:
        for query in _SYNCS:
            try:
                return int((await self._ask(query))[0][0])
            except (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError):
                continue
        return None

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
    with own_databases(postgres) as urls:
        prefix = urls.rpartition("/")[2].removesuffix("{service}")
        settings = {"SHOP_DATABASE_URL": urls, "SHOP_BROKER_URL": f"{rabbitmq}?prefix={prefix}"}
        try:
            yield Engine(SERVERS, settings, postgres, rabbitmq, prefix)
        finally:
            asyncio.run(_remove(rabbitmq, prefix))


async def _remove(rabbitmq: str, prefix: str) -> None:
    topology = Topology.load(TOPOLOGY)
    async with await aio_pika.connect(rabbitmq) as connection, connection.channel() as channel:
        for queue in (f"{name}{end}" for name in topology.queues for end in ("", ".retry", ".dead")):
            await channel.queue_delete(prefix + queue)
        await channel.queue_delete(prefix + topology.log)
        await channel.exchange_delete(prefix + topology.exchange)


@dataclass
class Traffic:
    """Traffic over the broker: events by type, and bytes of headers and data, once for each queue and the log."""

    types: Counter[str] = field(default_factory=Counter)
    size: int = 0


async def position(url: str) -> Position:
    """The position of the event log now."""
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


def _grown(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """The sum of each process's use in between; one that has ended since is in neither."""
    return sum(spent - before.get(pid, 0.0) for pid, spent in after.items())


def _is_session(pid: int, prefix: str) -> bool:
    """Whether a process of this machine is a session at one of these databases."""
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return command.startswith("postgres:") and prefix in command


def _cpu(pid: int) -> float:
    try:
        return cpu_seconds(pid)
    except (OSError, psutil.Error):
        return 0.0
