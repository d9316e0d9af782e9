"""Transactions as plain functions of a connection, on SQLite, and named locks by files beside the database.

Handing a statement to another thread and back costs more than the statement: 0.5 ms against 40 us. So statements run
in the event loop's own thread: in WAL mode no reader waits. Only what waits goes to another thread: a commit, for the
disk, and a whole transaction while another process writes.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, NullPool, RootTransaction, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from chassis.database.sqlite_busy import use_write_ahead_log
from chassis.observability.statement_count import OnStatements, count_statements

# How long SQLite waits for another process's transaction.
_BUSY_MILLISECONDS = 5_000
# Between two tries of a file's lock; each takes some microseconds.
_LOCK_POLL_SECONDS = 0.005

# How SQLite commits, and how when it need not wait for the disk. Moving the log into the file waits, so it is left to
# the next commit of the first kind.
_DURABLE = ("synchronous = FULL", "wal_autocheckpoint = 1000")
_NOT_DURABLE = ("synchronous = NORMAL", "wal_autocheckpoint = 0")

T = TypeVar("T")


class Sqlite:
    """Opens its connections when they are first needed: a service may never read or never write."""

    def __init__(self, url: URL, on_statements: OnStatements | None = None) -> None:
        self._url = url.set(drivername="sqlite+pysqlite")
        self._on_statements = on_statements
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._reading: Connection | None = None
        self._writing: Connection | None = None
        self._in_progress: asyncio.Future[Any] | None = None
        self._durable = True

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._reading is None:
            self._reading = self._engine("query_only = ON").connect()
        return work(self._reading)

    def version(self) -> int | None:
        if self._reading is None:
            return None
        driver: Any = self._reading.connection.driver_connection
        found: int = driver.execute("PRAGMA data_version").fetchone()[0]
        return found

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        # The caller before may have given up, but not its commit.
        if self._in_progress is not None:
            await asyncio.wait([self._in_progress])
        transaction = self._try_begin(durable)
        if transaction is None:
            return await self._in_thread(copy_context().run, self._write, work)
        with self._rollback_on_error(transaction):
            result = work(transaction.connection)
        if durable:
            await self._in_thread(self._commit, transaction)
        else:
            self._commit(transaction)
        return result

    def _try_begin(self, durable: bool) -> RootTransaction | None:
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
        self._in_progress = asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        return await asyncio.shield(self._in_progress)

    def _commit(self, transaction: RootTransaction) -> None:
        with self._rollback_on_error(transaction):
            transaction.commit()

    @asynccontextmanager
    async def lock(self, name: str, *, wait: bool) -> AsyncIterator[bool]:
        # Not `open`: what it makes around the descriptor takes five times as long as the lock.
        file = os.open(f"{self._url.database}.{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while not (held := _try_flock(file)) and wait:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(_LOCK_POLL_SECONDS)
            yield held
        finally:
            os.close(file)  # which gives the lock back

    def _write(self, work: Callable[[Connection], T]) -> T:
        if self._writing is None:
            engine = self._engine()
            # At once: a transaction that reads first could not be upgraded when another one has written meanwhile.
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
            self._writing = engine.connect()
        transaction = self._writing.begin()
        with self._rollback_on_error(transaction):
            result = work(self._writing)
            transaction.commit()
        return result

    @contextmanager
    def _rollback_on_error(self, transaction: RootTransaction) -> Iterator[None]:
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


def _try_flock(file: int) -> bool:
    """Whether the file's lock is held now; the system frees it when its holder dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
