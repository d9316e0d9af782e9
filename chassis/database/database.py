"""A service's own database: SQLite or PostgreSQL, by its URL alone.

The same schema, the same SQL (SQLAlchemy Core) and the same promises on both: a transaction that has committed
survives the process and the machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeDecorator

from chassis.database import schema_migrations
from chassis.database.engines import WRITES, open_engine
from chassis.database.errors import is_temporary
from chassis.database.group_commit import GroupCommit
from chassis.database.transactions import Transactions, Work, open_transactions
from chassis.errors import ShopError, StoreUnavailable
from chassis.observability.statement_count import OnStatements, count_statements

if TYPE_CHECKING:
    from chassis.pagination import Place

T = TypeVar("T")
log = logging.getLogger(__name__)

_MAX_REASON = 500
# Writes in a row that do not wait for the disk: only one that does moves SQLite's log into its file, which else would
# grow without end.
_MAX_NOT_DURABLE = 256
_INSERT: Mapping[str, Callable[[sa.Table], Any]] = {"sqlite": sqlite_insert, "postgresql": postgresql_insert}
_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(sa.bindparam("name", type_=sa.Text))))


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite does not store the zone, so it is added here."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class Database:
    """Transactions and reads. One writer at a time on SQLite, as SQLite has it; many on PostgreSQL."""

    def __init__(self, engine: AsyncEngine, transactions: Transactions) -> None:
        self.engine = engine
        self._transactions = transactions
        self._writer = asyncio.Lock() if self.is_sqlite else None
        self._group_commit = GroupCommit(self._write)
        # Of writes that have to wait for another one's commit anyway.
        self._waiting = GroupCommit(self._write, every=0.0)
        self._not_durable = 0

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    async def read(self, work: Work[T]) -> T:
        """A short read: few statements that find few rows; each sees what is committed by then.

        `work` is a plain function of a connection, and must be quick. Raises `StoreUnavailable`.
        """
        with _explained():
            return await self._transactions.read(work)

    async def rows(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[sa.Row[Any]]:
        """All rows of one statement: see `read`."""
        return await self.read(lambda connection: connection.execute(statement, parameters).all())

    async def row(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> sa.Row[Any] | None:
        """The row of one statement that finds one at most, or None: see `read`."""
        return await self.read(lambda connection: connection.execute(statement, parameters).one_or_none())

    def version(self) -> int | None:
        """Another number whenever anything was written since; None where that would take a call to a server.

        What was read after this number may be kept for as long as the number stays; SQLite returns it in 3 us.
        """
        with _explained():
            return self._transactions.version()

    async def write(self, work: Work[T], *, group_commit: bool = False, durable: bool = True) -> T:
        """Run `work`, a plain function of a connection, in a transaction: durably and all or nothing.

        Then run what it left with `after_commit`. When its connection turns out to be dead, `work` is run once more.
        `group_commit`: it may share its commit with others that are written at the same time, which is faster when many
        come and slower when one of them fails. On SQLite every write does that while another one is under way: it would
        have to wait for it anyway. Not `durable`: what is done again if a power failure undoes it, so that
        SQLite does not wait for the disk. Raises `StoreUnavailable`.
        """
        if group_commit:
            return await self._group_commit.write(work)
        if durable and self._writer is not None and self._writer.locked():
            return await self._waiting.write(work)
        return await self._write(work, durable=durable)

    async def _write(self, work: Work[T], *, durable: bool = True) -> T:
        self._not_durable = 0 if durable else self._not_durable + 1
        if self._not_durable >= _MAX_NOT_DURABLE:
            durable, self._not_durable = True, 0
        callbacks: list[Callable[[], None]] = []

        def collecting(connection: sa.Connection) -> T:
            callbacks.clear()
            connection.info["after_commit"] = callbacks
            return work(connection)

        with _explained():
            async with self._write_lock():
                result = await self._transactions.write(collecting, durable=durable)
        for callback in callbacks:
            callback()
        return result

    async def execute(
        self,
        statement: sa.UpdateBase,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        durable: bool = True,
    ) -> None:
        """Write by one statement that may be repeated: that changes nothing when it has been run before.

        PostgreSQL needs no transaction around it, which saves two of three ways to the server; `durable`: see `write`.
        """

        def executing(connection: sa.Connection) -> None:
            connection.execute(statement, parameters)

        if self.is_sqlite:
            await self.write(executing, durable=durable)
        else:
            with _explained():
                await self._transactions.read(executing)  # which may be run twice, too

    async def add_missing(self, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, durable: bool = True) -> None:
        """Insert those of the rows that are not there yet, by one statement: see `execute`."""
        await self.execute(_insert_missing(self.engine.dialect.name, table), rows, durable=durable)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """The same for a block that has to await in between."""
        async with AsyncExitStack() as stack:
            stack.enter_context(_explained())
            await stack.enter_async_context(self._write_lock())
            connection = await stack.enter_async_context(self._connected())
            await connection.execution_options(**{WRITES: True})
            callbacks = connection.info["after_commit"] = []
            async with connection.begin():
                yield connection
        for callback in callbacks:
            callback()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read from one consistent state, as much and for as long as it takes. Raises `StoreUnavailable`."""
        with _explained():
            async with self._connected() as connection:
                if not self.is_sqlite:
                    # Else each statement would see what was committed until it began (PostgreSQL, 13.2.1).
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection for a block. As a block cannot be run again, the connection is checked first."""
        async with self.engine.connect() as connection:
            if not self.is_sqlite:
                try:
                    await connection.execute(sa.text("SELECT 1"))
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
                await connection.rollback()
                await connection.get_raw_connection()  # a new one, if that one was dead
            yield connection

    def _write_lock(self) -> AbstractAsyncContextManager[object]:
        """Be this process's only writer where there can be only one (SQLite).

        Waiting here is fair and wakes at once; SQLite's own busy handler sleeps in growing steps.
        """
        return self._writer or nullcontext()

    async def if_alone(self, name: str, step: Callable[[], Awaitable[object]]) -> None:
        """Run a step unless another process runs one under this name: see `try_lock`."""
        async with self.try_lock(name) as alone:
            if alone:
                await step()

    @asynccontextmanager
    async def try_lock(self, name: str, *, wait: bool = False) -> AsyncIterator[bool]:
        """Named lock over all processes on this database; yields False when another process holds it.

        With `wait` it waits for the release instead.

        Released when the holder dies, however it dies. When the database is lost, the block is cancelled: raises
        `StoreUnavailable`.
        """
        async with AsyncExitStack() as stack:
            with _explained():
                held = await stack.enter_async_context(self._transactions.lock(name, wait=wait))
            yield held

    def lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Take the lock as `try_lock` does, but wait until it is released."""
        return self.try_lock(name, wait=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Separate the database's faults from ours. Raises `StoreUnavailable` for the former."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ShopError) or not is_temporary(error):
            raise
        log.warning("database unavailable", extra={"reason": f"{type(error).__name__}: {error}"[:_MAX_REASON]})
        raise StoreUnavailable from error


def after_commit(connection: AsyncConnection | sa.Connection, callback: Callable[[], None]) -> None:
    """Call `callback` once the connection's transaction has committed; never if it rolls back."""
    connection.info["after_commit"].append(callback)


def row_of(item: Any, table: sa.Table, **others: Any) -> dict[str, Any]:
    """A dataclass item's row: its fields that are columns of the table, and `others` beside or in place of them."""
    return {name: getattr(item, name) for name in _columns(item.__class__, table)} | others


def item_of(kind: Callable[..., T], row: Any, **others: Any) -> T:
    """The item of a dataclass that a row holds: each field the column of its name, but for `others`."""
    return kind(**{name: getattr(row, name) for name in _fields(kind) if name not in others}, **others)


@cache
def _columns(kind: Any, table: sa.Table) -> tuple[str, ...]:
    return tuple(name for name in _fields(kind) if name in table.c)


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def newest(
    statement: sa.Select[Any], table: sa.Table, after: Place | None, size: int, *, by: str = "created_at"
) -> sa.Select[Any]:
    """The statement, newest first by a time and then the id, from where the page before ended."""
    columns = (table.c[by], table.c.id)
    if after is not None:
        statement = statement.where(
            sa.tuple_(*columns) < sa.tuple_(sa.literal(after[0], UtcTime), sa.literal(after[1], sa.Text))
        )
    return statement.order_by(*(column.desc() for column in columns)).limit(size)


def insert_missing(connection: AsyncConnection | sa.Connection, table: sa.Table, *returning: sa.Column[Any]) -> Any:
    """An insert that leaves alone what is there already; another transaction's, too, once that has committed.

    It returns columns of what it has added, where any are named.
    """
    return _insert_missing(connection.dialect.name, table, *returning)


@lru_cache
def _insert_missing(dialect: str, table: sa.Table, *returning: sa.Column[Any]) -> Any:
    statement = _INSERT[dialect](table).on_conflict_do_nothing()
    return statement.returning(*returning) if returning else statement


def insert_or_add(connection: sa.Connection, table: sa.Table, *added: sa.Column[Any]) -> Any:
    """An insert that adds to these columns of a row that is there already, and replaces its other values."""
    return _insert_or_add(connection.dialect.name, table, *added)


@lru_cache
def _insert_or_add(dialect: str, table: sa.Table, *added: sa.Column[Any]) -> Any:
    statement = _INSERT[dialect](table)
    new: dict[str, Any] = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    new |= {column.name: column + statement.excluded[column.name] for column in added}
    return statement.on_conflict_do_update(index_elements=[column.name for column in table.primary_key], set_=new)


def insert_or_lock(connection: AsyncConnection | sa.Connection, table: sa.Table) -> Any:
    """The same for rows that other transactions delete: what is there stays there until this transaction ends."""
    statement = _INSERT[connection.dialect.name](table)
    key = [column.name for column in table.primary_key]
    return statement.on_conflict_do_update(index_elements=key, set_={name: statement.excluded[name] for name in key})


def lock_in_transaction(connection: sa.Connection, name: str) -> None:
    """Named lock, held until the transaction ends; it waits for another one's. SQLite has one writer at a time anyway.

    For a decision that depends on rows which are not there yet, so that none of them can be locked.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"name": name})


@asynccontextmanager
async def database(
    url: str,
    migrations: Path,
    *,
    create: bool = False,
    migrate: bool = True,
    pool_size: int = 8,
    on_statements: OnStatements | None = None,
) -> AsyncIterator[Database]:
    """Open a database and bring its schema up to date.

    `url` is sqlite:///PATH or postgresql://…; `migrations` holds the service's Alembic revisions. `create` makes a
    PostgreSQL database that is missing (SQLite files are made anyway). Without `migrate` another process brings the
    schema up to date (`shop migrate`): raises `SchemaBehind` when that has not happened within a minute.
    `on_statements` is called with the number of statements whenever some are sent.
    """
    async with _opened(url, create=create, pool_size=pool_size, on_statements=on_statements) as opened:
        await (
            schema_migrations.upgrade(opened, migrations) if migrate else schema_migrations.upgraded(opened, migrations)
        )
        yield opened


async def migrate(url: str, migrations: Path, *, create: bool = False) -> tuple[str, str]:
    """Bring a schema up to date; return the revision that it was at, "" for none, and the one that it is at now."""
    async with _opened(url, create=create, pool_size=2) as opened:
        before = await schema_migrations.revision(opened)
        await schema_migrations.upgrade(opened, migrations)
        return before, await schema_migrations.revision(opened)


@asynccontextmanager
async def _opened(
    url: str, *, create: bool, pool_size: int, on_statements: OnStatements | None = None
) -> AsyncIterator[Database]:
    async with (
        open_engine(url, create=create, pool_size=pool_size) as engine,
        open_transactions(engine, on_statements) as transactions,
    ):
        if on_statements is not None:
            count_statements(engine.sync_engine, on_statements)
        yield Database(engine, transactions)
