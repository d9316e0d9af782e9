"""Transactions as plain functions of a SQLAlchemy connection, on SQLite and PostgreSQL.

On SQLite, handing a statement to another thread and back costs more than the statement: 0.5 ms against 40 us. So
statements run in the event loop's own thread: in WAL mode no reader waits. Only
what waits goes to another thread: a commit, for the disk, and a whole transaction while another process writes.
PostgreSQL's way is in `postgresql.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, NullPool, RootTransaction, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database.locks import file_lock
from chassis.database.postgresql import Postgresql
from chassis.database.sqlite_locks import use_write_ahead_log
from chassis.observability.statement_count import OnStatements, count_statements

# How long SQLite waits for another process's transaction.
_BUSY_MILLISECONDS = 5_000

# How SQLite commits, and how when it need not wait for the disk. Moving the log into the file waits, so it is left to
# the next commit of the first kind.
_DURABLE = ("synchronous = FULL", "wal_autocheckpoint = 1000")
_NOT_DURABLE = ("synchronous = NORMAL", "wal_autocheckpoint = 0")

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
async def open_transactions(
    engine: AsyncEngine, on_statements: OnStatements | None = None
) -> AsyncIterator[Transactions]:
    """Transactions of the engine's database; closed when the one under way has ended."""
    sqlite = engine.dialect.name == "sqlite"
    opened = _Sqlite(engine.url, on_statements) if sqlite else Postgresql(engine, on_statements)
    try:
        yield opened
    finally:
        await opened.close()


class _Sqlite:
    """Opens its connections when they are first needed: a service may never read or never write."""

    def __init__(self, url: URL, on_statements: OnStatements | None = None) -> None:
        self._url = url.set(drivername="sqlite+pysqlite")
        self._on_statements = on_statements
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._reading: Connection | None = None
        self._writing: Connection | None = None
        self._waited_for: asyncio.Future[Any] | None = None
        self._durable = True

    async def read(self, work: Work[T]) -> T:
        if self._reading is None:
            self._reading = self._engine("query_only = ON").connect()
        return work(self._reading)

    def version(self) -> int | None:
        if self._reading is None:
            return None
        driver: Any = self._reading.connection.driver_connection
        found: int = driver.execute("PRAGMA data_version").fetchone()[0]
        return found

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        # The caller before may have given up, but not its commit.
        if self._waited_for is not None:
            await asyncio.wait([self._waited_for])
        transaction = self._begun_at_once(durable)
        if transaction is None:
            return await self._in_thread(copy_context().run, self._write, work)
        with self._undone_if_it_fails(transaction):
            result = work(transaction.connection)
        if durable:
            await self._in_thread(self._commit, transaction)
        else:
            self._commit(transaction)
        return result

    def _begun_at_once(self, durable: bool) -> RootTransaction | None:
        """A transaction; None where it may have to wait: for a new connection, or for another process."""
        if self._writing is None:
            return None
        driver: Any = self._writing.connection.driver_connection
        if durable != self._durable:
            for pragma in _DURABLE if durable else _NOT_DURABLE:
                driver.execute(f"PRAGMA {pragma}")
            self._durable = durable
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            return self._writing.begin()
        except OperationalError as error:
            if not isinstance(error.orig, sqlite3.Error) or error.orig.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return None
        finally:
            driver.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what waits, to its end even if its caller gives up."""
        self._waited_for = asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        return await asyncio.shield(self._waited_for)

    def _commit(self, transaction: RootTransaction) -> None:
        with self._undone_if_it_fails(transaction):
            transaction.commit()

    def lock(self, name: str, *, wait: bool) -> AbstractAsyncContextManager[bool]:
        return file_lock(Path(f"{self._url.database}.{name}.lock"), wait=wait)

    def _write(self, work: Work[T]) -> T:
        if self._writing is None:
            engine = self._engine()
            # At once: a transaction that reads first could not be upgraded when another one has written meanwhile.
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
            self._writing = engine.connect()
        transaction = self._writing.begin()
        with self._undone_if_it_fails(transaction):
            result = work(self._writing)
            transaction.commit()
        return result

    @contextmanager
    def _undone_if_it_fails(self, transaction: RootTransaction) -> Iterator[None]:
        try:
            yield
        except BaseException:
            transaction.rollback()
            # A COMMIT that fails (full disk, I/O error) leaves its transaction open, and SQLAlchemy takes it for ended:
            # without this no later transaction could begin on the connection.
            driver: Any = transaction.connection.connection.driver_connection
            if driver.in_transaction:
                driver.rollback()
            raise

    def _engine(self, *pragmas: str) -> Engine:
        engine = create_engine(self._url, poolclass=NullPool, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", lambda connection, _record: prepare_sqlite(connection, *pragmas))
        if self._on_statements is not None:
            count_statements(engine, self._on_statements)
        return engine

    async def close(self) -> None:
        """Wait for the transaction under way and close the file."""
        self._thread.shutdown()
        for connection in (self._reading, self._writing):
            if connection is not None:
                connection.close()


def prepare_sqlite(connection: Any, *pragmas: str) -> None:
    """Make a driver's new connection durable and strict, and able to do what PostgreSQL can."""
    connection.isolation_level = None  # we begin transactions ourselves
    use_write_ahead_log(connection)
    cursor = connection.cursor()
    for pragma in (
        "synchronous = FULL",  # a commit is on the disk when it returns
        f"busy_timeout = {_BUSY_MILLISECONDS}",
        "foreign_keys = ON",
        *pragmas,
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    connection.create_function("lower", 1, _lower, deterministic=True)  # its own one handles ASCII only


def _lower(text: str | None) -> str | None:
    return text if text is None else text.lower()
