"""Reservations and what they are measured against, on each database that there is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiosqlite
import asyncpg

from bench.roles import listens, not_run, own_databases
from chassis.broker import connect as connect_broker
from chassis.broker.outbox import Outbox
from chassis.broker.port import Topology
from chassis.database.database import Database, database
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from services.inventory.bootstrap import MIGRATIONS
from services.inventory.domain import Line
from services.inventory.sql_store import outbox
from services.inventory.sql_store.batching import BatchingStockStore

POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432"
PRODUCTS = [str(number) for number in range(24)]
PLENTY = 10**9

Do = Callable[[int], Awaitable[None]]
Opened = AbstractAsyncContextManager[tuple[Do, Do]]


def available(folder: Path, postgres_url: str) -> Iterator[tuple[str, Opened]]:
    """A database's name, and what opens it; PostgreSQL only where it listens, with a line printed if not."""
    yield "SQLite", _sqlite(folder)
    if listens(postgres_url):
        yield "PostgreSQL", _postgresql(folder, postgres_url)
    else:
        not_run("reservations on PostgreSQL", postgres_url)


def _lines(number: int) -> list[Line]:
    """Three products of an order."""
    return [
        Line(product_id, 1)
        for product_id in sorted(PRODUCTS[(number * 7 + step) % len(PRODUCTS)] for step in (0, 5, 11))
    ]


@asynccontextmanager
async def _reserving(folder: Path, db: Database) -> AsyncIterator[Do]:
    """Ours: the store as inventory has it, with its outbox; nothing relays, as that is another process's time."""
    broker = await connect_broker(f"embedded:{folder / 'broker.sqlite'}", Topology.load(TOPOLOGY))
    store = BatchingStockStore(db, Outbox(outbox, db, broker, Telemetry("bench")))
    await store.add_missing(dict.fromkeys(PRODUCTS, PLENTY))

    async def reserve(number: int) -> None:
        await store.reserve(uuid.uuid4().hex, _lines(number))

    try:
        yield reserve
    finally:
        await broker.close()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[tuple[Do, Do]]:
    async with (
        database(f"sqlite:///{folder / 'inventory.sqlite'}", MIGRATIONS) as db,
        _reserving(folder, db) as reserve,
        aiosqlite.connect(folder / "floor.sqlite", isolation_level=None) as floor,
    ):
        await floor.execute("PRAGMA journal_mode = WAL")
        # As a reservation, which is not durable until it is confirmed.
        await floor.execute("PRAGMA synchronous = NORMAL")
        await floor.execute("CREATE TABLE floor (product_id TEXT PRIMARY KEY, available INTEGER)")
        await floor.executemany("INSERT INTO floor VALUES (?, ?)", [(each, PLENTY) for each in PRODUCTS])
        writer = asyncio.Lock()

        async def bare(number: int) -> None:
            async with writer:
                await floor.execute("BEGIN IMMEDIATE")
                for line in _lines(number):
                    await floor.execute(
                        "UPDATE floor SET available = available - ? WHERE product_id = ?",
                        (line.quantity, line.product_id),
                    )
                await floor.execute("COMMIT")

        yield reserve, bare


@asynccontextmanager
async def _postgresql(folder: Path, server: str) -> AsyncIterator[tuple[Do, Do]]:
    with own_databases(server) as urls:
        url = urls.replace("{service}", "inventory")
        async with (
            database(url, MIGRATIONS, create=True) as db,
            _reserving(folder, db) as reserve,
            asyncpg.create_pool(url, min_size=8, max_size=8) as pool,
        ):
            await pool.execute("CREATE TABLE floor (product_id TEXT PRIMARY KEY, available BIGINT)")
            await pool.executemany("INSERT INTO floor VALUES ($1, $2)", [(each, PLENTY) for each in PRODUCTS])

            async def bare(number: int) -> None:
                async with pool.acquire() as connection, connection.transaction():
                    for line in _lines(number):
                        await connection.execute(
                            "UPDATE floor SET available = available - $1 WHERE product_id = $2",
                            line.quantity,
                            line.product_id,
                        )

            yield reserve, bare
