"""The port of a database's transactions, plain functions of a SQLAlchemy connection.

It has two adapters: `sqlite.py` and `postgresql.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database.postgresql import Postgresql
from chassis.database.sqlite import Sqlite
from chassis.observability.statement_count import OnStatements

T = TypeVar("T")
Work = Callable[[Connection], T]


class Transactions(Protocol):
    async def read(self, work: Work[T]) -> T:
        """Run statements that find few rows by an index; each sees what is committed by then.

        They write nothing, but for one statement on PostgreSQL that may be run twice (`Database.execute`).
        """

    def version(self) -> int | None:
        """See `Database.version`."""

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run a transaction of its own, all or nothing, as durably as in `Database.write`; twice, perhaps."""

    def lock(self, name: str, *, wait: bool) -> AbstractAsyncContextManager[bool]:
        """See `Database.lock` and `Database.try_lock`."""


@asynccontextmanager
async def open_transactions(engine: AsyncEngine, on_statements: OnStatements | None) -> AsyncIterator[Transactions]:
    """Transactions of the engine's database; closed when the one under way has ended."""
    sqlite = engine.dialect.name == "sqlite"
    opened = Sqlite(engine.url, on_statements) if sqlite else Postgresql(engine, on_statements)
    try:
        yield opened
    finally:
        await opened.close()
