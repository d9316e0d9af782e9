"""Short pieces of work on a service's own database, as plain functions of a SQLAlchemy connection.

On SQLite, handing a statement to another thread and back costs more than the statement: 0.5 ms against 40 us. So a read
runs where it is asked for, in the event loop's own thread (in WAL mode no reader waits for anybody), and a transaction
goes to another thread as a whole, for it waits for the disk. On PostgreSQL both run in SQLAlchemy's asynchronous layer,
which lends plain functions a connection that awaits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.exclusive import advisory_lock, file_lock

T = TypeVar("T")
Work = Callable[[Connection], T]

# Of the pool's connections, how many stay with readers, and how many with writers.
_MOST_KEPT = 2


class Direct(Protocol):
    async def read(self, work: Work[T]) -> T:
        """Run statements that write nothing, and find few rows by an index; each sees what is committed by then."""

    def version(self) -> int | None:
        """See `Database.version`."""

    async def write(self, work: Work[T]) -> T:
        """Run a transaction of its own, durably and all or nothing; `work` may be run twice."""

    def exclusively(self, name: str) -> AbstractAsyncContextManager[bool]:
        """See `Database.exclusively`."""


@asynccontextmanager
async def direct(engine: AsyncEngine) -> AsyncIterator[Direct]:
    """The direct way to the same database; it ends when the transaction under way has."""
    opened = _Sqlite(engine.url) if engine.dialect.name == "sqlite" else _Postgresql(engine)
    try:
        yield opened
    finally:
        await opened.close()


class _Sqlite:
    """Opens its connections when they are first needed: a service may never read or never write."""

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="sqlite+pysqlite")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._reading: Connection | None = None
        self._writing: Connection | None = None

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

    async def write(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, self._write, work)

    def exclusively(self, name: str) -> AbstractAsyncContextManager[bool]:
        return file_lock(Path(f"{self._url.database}.{name}.lock"), wait=False)

    def _write(self, work: Work[T]) -> T:
        if self._writing is None:
            engine = self._engine()
            # At once: a transaction that reads first could not be upgraded when somebody else has written meanwhile.
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
            self._writing = engine.connect()
        with self._writing.begin():
            return work(self._writing)

    def _engine(self, *pragmas: str) -> Engine:
        engine = create_engine(self._url, poolclass=NullPool, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", lambda connection, _record: prepare_sqlite(connection, *pragmas))
        return engine

    async def close(self) -> None:
        """Wait for the transaction under way and close the file."""
        self._thread.shutdown()
        for connection in (self._reading, self._writing):
            if connection is not None:
                connection.close()


class _Postgresql:
    def __init__(self, engine: AsyncEngine) -> None:
        # No BEGIN before a read and no ROLLBACK after it: each would be a way to the server and back.
        self._readers = _Kept(engine.execution_options(isolation_level="AUTOCOMMIT"))
        self._writers = _Kept(engine)

    # Nobody asks a connection whether it is alive before it is used, which would be as slow as reading a row. What one
    # that has died was used for is done again with a new one.

    async def read(self, work: Work[T]) -> T:
        try:
            return await self._read(work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        await self.close()
        return await self._read(work)

    async def _read(self, work: Work[T]) -> T:
        async with self._readers.one() as connection:
            return await connection.run_sync(work)

    def version(self) -> int | None:
        return None

    async def write(self, work: Work[T]) -> T:
        committing = False
        try:
            async with self._writers.one() as connection, connection.begin():
                result = await connection.run_sync(work)
                committing = True
            return result
        except DBAPIError as error:
            # Of a connection that dies while it commits, nobody knows whether it has.
            if committing or not error.connection_invalidated:
                raise
        await self.close()
        async with self._writers.one() as connection, connection.begin():
            return await connection.run_sync(work)

    def exclusively(self, name: str) -> AbstractAsyncContextManager[bool]:
        return advisory_lock(self._readers.one(), name, wait=False)

    async def close(self) -> None:
        """Give back what is kept; losing one connection makes SQLAlchemy's pool make all that are older anew."""
        await self._readers.close()
        await self._writers.close()


class _Kept:
    """Connections of which a few stay here: to take one from the pool and give it back costs as much as a statement."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._idle: list[AsyncConnection] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[AsyncConnection]:
        connection = self._idle.pop() if self._idle else await self._engine.connect()
        keep = False
        try:
            yield connection
            keep = len(self._idle) < _MOST_KEPT and not connection.invalidated
        finally:
            if keep:
                self._idle.append(connection)
            else:
                # The pool finds out what it is still worth.
                await asyncio.shield(connection.close())

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()


def prepare_sqlite(connection: Any, *pragmas: str) -> None:
    """Make a driver's new connection durable and strict, and able to do what PostgreSQL can."""
    connection.isolation_level = None  # we begin transactions ourselves
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # a commit is on the disk when it returns
        "busy_timeout = 5000",
        "foreign_keys = ON",
        *pragmas,
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    connection.create_function("lower", 1, _lower, deterministic=True)  # its own one knows ASCII only


def _lower(text: str | None) -> str | None:
    return text if text is None else text.lower()
