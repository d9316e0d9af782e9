"""SQLAlchemy's engines for a service's database, set up so that both databases keep the same promises."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import ExceptionContext, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chassis.database.errors import refusal_of
from chassis.database.sqlite import prepare_sqlite
from chassis.errors import ShopError

WRITES = "shop_writes"  # the execution option of a connection whose transaction will write
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
# Seconds for opening a connection: from a server whose packets are dropped, no answer arrives.
_CONNECT_TIMEOUT = 5
# How soon PostgreSQL ends the session of a process that has vanished without a word, or stands still within a
# transaction, and so frees what it had locked. Where a machine has lost its power it would take two hours.
_SERVER_SETTINGS = {
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


@asynccontextmanager
async def open_engine(url: str, *, create: bool, pool_size: int) -> AsyncIterator[AsyncEngine]:
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise ValueError(f"the database URL must begin with sqlite: or postgresql:, not {backend}:")
    parsed = parsed.set(drivername=_DRIVERS[backend])
    engine = (_sqlite_engine if backend == "sqlite" else _postgresql_engine)(parsed, pool_size)
    try:
        if create and backend == "postgresql":
            await _create_if_missing(parsed)
        yield engine
    finally:
        await engine.dispose()


def _sqlite_engine(url: URL, pool_size: int) -> AsyncEngine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=5)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        prepare_sqlite(connection)

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # A transaction that reads first and writes later could not be upgraded once another one has written.
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"timeout": _CONNECT_TIMEOUT, "command_timeout": 30, "server_settings": _SERVER_SETTINGS},
    )

    @event.listens_for(engine.sync_engine, "handle_error", retval=True)
    def explain(context: ExceptionContext) -> ShopError | None:
        return refusal_of(context.original_exception)

    return engine


async def _create_if_missing(url: URL) -> None:
    name = url.database or ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"database name {name!r} must have only letters, digits and _, and no digit first")
    server = create_async_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", connect_args={"timeout": _CONNECT_TIMEOUT}
    )
    try:
        async with server.connect() as connection:
            exists = await connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
            if not exists:
                try:
                    await connection.execute(text(f'CREATE DATABASE "{name}"'))
                except DBAPIError as error:
                    # Two processes of one service start at once, and the other one was first.
                    if "already exists" not in str(error) and "duplicate key" not in str(error):
                        raise
    finally:
        await server.dispose()
