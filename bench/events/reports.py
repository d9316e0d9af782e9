"""Copies of reports, for `bench.events`: the events that they count a second from one log into one database."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from bench.events.servers import Server
from bench.roles import Role, listens, own_databases, role

ROLES = "bench.events.roles"
POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432").rstrip("/")
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
COPIES = (1, 2, 3)
TURNS = 3
WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.005

Ask = Callable[[str], list[Any]]
"""The rows of a query."""


@dataclass(frozen=True, slots=True)
class Selling:
    """Orders in a turn, of two events each, and events in a call."""

    orders: int
    batch: int


def databases(server: Server) -> list[str]:
    """The databases that go with a log: SQLite with the embedded one, PostgreSQL with RabbitMQ, else both."""
    return {"embedded": [SQLITE], "rabbitmq": [POSTGRESQL]}.get(server.name, [SQLITE, POSTGRESQL])


def missing(database: str) -> str:
    """The reason why a database cannot be measured; empty where it can."""
    if database == SQLITE or listens(POSTGRES_URL):
        return ""
    return "nothing listens at TEST_POSTGRES_URL, or on PostgreSQL's port here"


def counted(server: Server, database: str, folder: Path, name: str, selling: Selling) -> dict[str, list[float]]:
    """Events a second that so many copies count, by their number."""
    url = server.url(folder, name, partitions=12)
    own = folder / f"reports-{database}"
    own.mkdir()
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        database_url, ask = stack.enter_context(_sqlite(own) if database == SQLITE else _postgresql())
        writer = stack.enter_context(role(ROLES, "log", "ours", url, str(own)))
        writer.receive()
        for count in COPIES:
            stack.enter_context(role(ROLES, "reports", url, str(own), database_url)).receive()
            _wait(partial(_shared, ask, count))
            # The first turn warms up.
            found[str(count)] = [_turn(writer, ask, selling) for _ in range(TURNS + 1)][1:]
    return found


def _turn(writer: Role, ask: Ask, selling: Selling) -> float:
    """Events a second from the first append until the figures have all orders."""
    wanted = _orders(ask) + selling.orders
    writer.send("sell", selling.orders, selling.batch)
    began, _ = map(float, writer.receive().split())
    _wait(lambda: _orders(ask) >= wanted)
    return 2 * selling.orders / (time.monotonic() - began)


def _orders(ask: Ask) -> int:
    return int(ask("SELECT coalesce(sum(orders), 0) FROM figures WHERE dimension = 'day'")[0][0])


def _shared(ask: Ask, copies: int) -> bool:
    """Whether each copy has its share of the partitions."""
    owners = ask("SELECT owner, count(*) FROM log_partitions GROUP BY owner")
    counts = [count for owner, count in owners if owner]
    return bool(len(counts) == len(owners) == min(copies, sum(counts)) > 0 and max(counts) - min(counts) <= 1)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("copies of reports did not come to an end")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _sqlite(folder: Path) -> Iterator[tuple[str, Ask]]:
    """A file of its own; a new connection each time, as the first copy makes the file."""

    def ask(query: str) -> list[Any]:
        with closing(sqlite3.connect(folder / "reports.sqlite", timeout=5)) as connection:
            return connection.execute(query).fetchall()

    yield f"sqlite:///{folder}/{{service}}.sqlite", ask


@contextmanager
def _postgresql() -> Iterator[tuple[str, Ask]]:
    """A database of its own, which the first copy creates."""
    with own_databases(POSTGRES_URL) as urls, asyncio.Runner() as runner:
        connections: list[asyncpg.Connection] = []

        def ask(query: str) -> list[Any]:
            if not connections:
                connections.append(runner.run(asyncpg.connect(urls.replace("{service}", "reports"))))
            return runner.run(connections[0].fetch(query))

        try:
            yield urls, ask
        finally:
            for connection in connections:
                runner.run(connection.close())
