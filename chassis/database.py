"""A service's own database: SQLite or PostgreSQL, by its URL alone.

The same schema, the same SQL (SQLAlchemy Core) and the same promises on both: a transaction that has committed
survives the process and the machine.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    DateTime,
    Dialect,
    ExceptionContext,
    Table,
    bindparam,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator

from chassis import schema
from chassis.direct import Direct, Work, direct, prepare_sqlite
from chassis.errors import ShopError, StoreUnavailable, invalid
from chassis.exclusive import advisory_lock, file_lock

T = TypeVar("T")
log = logging.getLogger(__name__)

_MAX_REASON = 500
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_WRITES = "shop_writes"
_CHARACTER_NOT_IN_REPERTOIRE = "22021"


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is given back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class Database:
    """Transactions and reads. One writer at a time on SQLite, as SQLite has it; many on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        # `database` opens it.
        self._direct: Direct
        self._writer = asyncio.Lock() if self.is_sqlite else None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    async def read(self, work: Work[T]) -> T:
        """What every request does: few statements that find few rows; each sees what is committed by then.

        `work` is a plain function of a connection, and must be quick. Raises `StoreUnavailable`.
        """
        with _explained():
            return await self._direct.read(work)

    def version(self) -> int | None:
        """Another number whenever anything was written since; None where only a server could tell.

        What was read after it was asked for may be kept for as long as it stays: SQLite says so in 3 us.
        """
        with _explained():
            return self._direct.version()

    async def write(self, work: Work[T]) -> T:
        """Run `work`, a plain function of a connection, in a transaction: durably and all or nothing.

        Then run what it left with `after_commit`. When its connection turns out to be dead, `work` is run once more.
        Raises `StoreUnavailable`.
        """
        callbacks: list[Callable[[], None]] = []

        def collecting(connection: Connection) -> T:
            callbacks.clear()
            connection.info["after_commit"] = callbacks
            return work(connection)

        with _explained():
            async with self._writing_alone():
                result = await self._direct.write(collecting)
        for callback in callbacks:
            callback()
        return result

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """The same for a block that has to await in between."""
        async with AsyncExitStack() as stack:
            stack.enter_context(_explained())
            await stack.enter_async_context(self._writing_alone())
            connection = await stack.enter_async_context(self._connected())
            await connection.execution_options(**{_WRITES: True})
            callbacks = connection.info["after_commit"] = []
            async with connection.begin():
                yield connection
        for callback in callbacks:
            callback()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read from one consistent state, as much and for as long as it takes. Raises `StoreUnavailable`."""
        with _explained():
            async with self._connected() as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection for a block. As a block cannot be run again, it is asked first whether anybody is there."""
        async with self.engine.connect() as connection:
            if not self.is_sqlite:
                try:
                    await connection.execute(text("SELECT 1"))
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
                await connection.rollback()
                await connection.get_raw_connection()  # a new one, if that one was dead
            yield connection

    def _writing_alone(self) -> AbstractAsyncContextManager[object]:
        """Be this process's only writer where there can be only one (SQLite).

        Waiting here is fair and wakes at once; SQLite's own busy handler sleeps in growing steps.
        """
        return self._writer or nullcontext()

    @asynccontextmanager
    async def exclusively(self, name: str) -> AsyncIterator[bool]:
        """Be the only one, over all processes on this database, that does `name`; yields False when another one is.

        Falls back to nobody when the holder dies, however it dies. When the database goes, the block is cancelled:
        raises `StoreUnavailable`.
        """
        async with self._direct.exclusively(name) as held:
            yield held

    @asynccontextmanager
    async def in_turn(self, name: str) -> AsyncIterator[None]:
        """As `exclusively`, but wait for one's turn."""
        if self.is_sqlite:
            lock = file_lock(Path(f"{self.engine.url.database}.{name}.lock"), wait=True)
        else:
            lock = advisory_lock(self.engine.execution_options(isolation_level="AUTOCOMMIT").connect(), name, wait=True)
        async with lock:
            yield


# For those who go on when the database is back. A connection that cannot be made may also be the operating system's.
DATABASE_ERRORS = (StoreUnavailable, SQLAlchemyError, OSError)


@contextmanager
def _explained() -> Iterator[None]:
    """Tell what is the database's fault from what is ours."""
    try:
        yield
    except (DBAPIError, PoolTimeout, OSError) as error:
        if isinstance(error, DBAPIError) and not _gone(error):
            raise
        log.warning("the database does not answer", extra={"reason": f"{type(error).__name__}: {error}"[:_MAX_REASON]})
        raise StoreUnavailable from error


def _gone(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def after_commit(connection: AsyncConnection | Connection, callback: Callable[[], None]) -> None:
    """Call `callback` once the connection's transaction has committed; never if it rolls back."""
    connection.info["after_commit"].append(callback)


def insert_missing(connection: AsyncConnection | Connection, table: Table, *returning: Column[Any]) -> Any:
    """An insert that leaves alone what is there already; another transaction's, too, once that has committed.

    It returns columns of what it has added, where any are named.
    """
    return _insert_missing(connection.dialect.name, table, *returning)


@lru_cache
def _insert_missing(dialect: str, table: Table, *returning: Column[Any]) -> Any:
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    statement = insert(table).on_conflict_do_nothing()
    return statement.returning(*returning) if returning else statement


def take_turns(connection: Connection, name: str) -> None:
    """Wait until no other transaction that takes turns under this name is running; on SQLite none ever is.

    For a decision that depends on rows which are not there yet, so that none of them can be locked.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})


def numbered(count: int) -> list[BindParameter[Any]]:
    """Parameters for an IN of `count` values, to be given by `by_number`.

    What SQLAlchemy does for a list of any length costs as much as the whole rest of reading one row.
    """
    return [bindparam(f"n{number}") for number in range(count)]


def by_number(values: Iterable[object]) -> dict[str, object]:
    """The values of `numbered` parameters."""
    return {f"n{number}": value for number, value in enumerate(values)}


@asynccontextmanager
async def database(
    url: str, migrations: Path, *, create: bool = False, migrate: bool = True, pool_size: int = 8
) -> AsyncIterator[Database]:
    """Open a database and bring its schema up to date.

    `url` is sqlite:///PATH or postgresql://…; `migrations` holds the service's Alembic revisions. `create` makes a
    PostgreSQL database that is missing (SQLite files are made anyway). Without `migrate` somebody else brings the
    schema up to date (`shop migrate`): raises `SchemaBehind` when that has not happened within a minute.
    """
    async with _engine(url, create=create, pool_size=pool_size) as engine:
        opened = Database(engine)
        await (schema.upgrade(opened, migrations) if migrate else schema.upgraded(opened, migrations))
        async with direct(engine) as opened._direct:  # noqa: SLF001  # opened and closed here, with the rest
            yield opened


async def migrate(url: str, migrations: Path, *, create: bool = False) -> tuple[str, str]:
    """Only bring a schema up to date; the revision that it was at, "" for none, and the one that it is at now."""
    async with _engine(url, create=create, pool_size=2) as engine:
        opened = Database(engine)
        before = await schema.revision(opened)
        await schema.upgrade(opened, migrations)
        return before, await schema.revision(opened)


@asynccontextmanager
async def _engine(url: str, *, create: bool, pool_size: int) -> AsyncIterator[AsyncEngine]:
    parsed = make_url(url)
    if parsed.get_backend_name() not in _DRIVERS:
        raise ValueError(f"a database URL begins with sqlite or postgresql, not {parsed.get_backend_name()}")
    parsed = parsed.set(drivername=_DRIVERS[parsed.get_backend_name()])
    engine = (
        _sqlite_engine(parsed, pool_size)
        if parsed.get_backend_name() == "sqlite"
        else _postgresql_engine(parsed, pool_size)
    )
    try:
        if create and parsed.get_backend_name() == "postgresql":
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
        # A transaction that reads first and writes later could not be upgraded once somebody else has written.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"timeout": 5, "command_timeout": 30},
    )

    @event.listens_for(engine.sync_engine, "handle_error", retval=True)
    def explain(context: ExceptionContext) -> ShopError | None:
        if getattr(context.original_exception, "sqlstate", "") == _CHARACTER_NOT_IN_REPERTOIRE:
            return invalid("a text holds a character that cannot be stored: U+0000")
        return None

    return engine


async def _create_if_missing(url: URL) -> None:
    name = url.database or ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        message = f"not a database name that can be created: {name!r}"
        raise ValueError(message)
    server = create_async_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
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
