"""Transactions as plain functions of a connection, on PostgreSQL.

The functions run in a greenlet, in which a call that has to await does. A transaction is one greenlet from the
connection to the commit, on a connection that stays; its statements go to asyncpg by the shortest way (`prepared.py`),
and by SQLAlchemy's where there is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar, cast

import asyncpg
from sqlalchemy import Connection, QueuePool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only, greenlet_spawn

from chassis.database import advisory_locks
from chassis.database.errors import refusal_of
from chassis.database.prepared import Held, Parameters, Prepared, Statements
from chassis.observability.statement_count import OnStatements

T = TypeVar("T")

_MAX_IDLE = 4
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Postgresql:
    """Does not check that a connection is alive before it is used, which would be as slow as reading a row.

    What one that has died was used for is done again with a new one: losing one connection makes SQLAlchemy's pool
    make all that are older anew.
    """

    def __init__(self, engine: AsyncEngine, on_statements: OnStatements | None = None) -> None:
        self._sessions = _Sessions(engine, on_statements)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """No BEGIN before a read and no ROLLBACK after it: each would be a way to the server and back."""

        def reading() -> T:
            with self._sessions.session() as session:
                return work(session.as_connection())

        return await self._retry_if_dead(reading)

    def version(self) -> int | None:
        return None

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool = True,  # noqa: ARG002 - saying it would be a statement
    ) -> T:
        committing = False

        def writing() -> T:
            nonlocal committing
            with self._sessions.session() as session:
                session.run("BEGIN")
                result = work(session.as_connection())
                committing = True
                session.run("COMMIT")
            return result

        # Of a connection that dies while it commits, it is unknown whether it has.
        return await self._retry_if_dead(writing, unless=lambda: committing)

    @asynccontextmanager
    async def lock(self, name: str, *, wait: bool) -> AsyncIterator[bool]:
        def locking() -> tuple[_Session, bool]:
            session = self._sessions.take()
            try:
                return session, advisory_locks.acquire(session.as_connection(), name, wait=wait)
            except BaseException:
                session.discard()
                raise

        session, held = await self._retry_if_dead(locking)
        try:
            async with advisory_locks.cancel_when_lost(session.driver) if held else nullcontext():
                yield held
        finally:

            def releasing() -> None:
                with self._sessions.returned(session):
                    if held:
                        advisory_locks.release(session.as_connection(), name)

            await greenlet_spawn(releasing)

    async def _retry_if_dead(self, work: Callable[[], T], *, unless: Callable[[], bool] = lambda: False) -> T:
        try:
            return await greenlet_spawn(work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            await greenlet_spawn(self._sessions.drop_idle)
            if unless():
                raise
        return await greenlet_spawn(work)

    async def close(self) -> None:
        """Its connections are the engine's."""
        await greenlet_spawn(self._sessions.drop_idle)


class _Session:
    """One connection, in AUTOCOMMIT: what it is lent for begins and ends its own transactions."""

    def __init__(self, connection: Connection, statements: Statements, on_statements: OnStatements | None) -> None:
        self._connection = connection
        self._statements = statements
        self._on_statements = on_statements
        self._adapter: Any = connection.connection.dbapi_connection
        self.driver: Any = connection.connection.driver_connection
        self.dialect = connection.dialect
        self.info: dict[str, Any] = {}

    def as_connection(self) -> Connection:
        """This session as the `Connection` of SQLAlchemy whose methods it has."""
        return cast("Connection", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: Any, parameters: Parameters = None) -> Any:
        prepared, held = self._statements.prepared(statement, parameters) or (None, ())
        if prepared is not None and (result := self._executed(prepared, held, parameters or {})) is not None:
            return result
        return self._connection.execute(statement, parameters)

    def _executed(
        self, prepared: Prepared, held: Held, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> Any:
        """Execute a prepared statement; return its result, or None if SQLAlchemy must run it or report an error."""
        if not isinstance(parameters, Mapping):
            if len(parameters) > 1:
                if (calls := prepared.calls(parameters, held)) is None:
                    return None
                self._awaited(self.driver.executemany, *calls, count=len(parameters))
                return prepared.rows((), -1)
            parameters = parameters[0]
        if (call := prepared.call(parameters, held)) is None:
            return None
        sql, values = call
        if prepared.returns_rows:
            records = self._awaited(self.driver.fetch, sql, *values)
            return prepared.rows(records, len(records))
        # Such as "UPDATE 1" and "INSERT 0 1".
        return prepared.rows((), int(self._awaited(self.driver.execute, sql, *values).rpartition(" ")[2]))

    def scalar(self, statement: Any, parameters: Parameters = None) -> Any:
        return self.execute(statement, parameters).scalar()

    def scalars(self, statement: Any, parameters: Parameters = None) -> Any:
        return self.execute(statement, parameters).scalars()

    def run(self, command: str) -> None:
        self._awaited(self.driver.execute, command)

    def _awaited(self, call: Callable[..., Awaitable[T]], sql: str, *values: Any, count: int = 1) -> T:
        """The result of a call that sends so many statements. Raises what SQLAlchemy would."""
        if self._on_statements is not None:
            self._on_statements(count)
        try:
            return await_only(call(sql, *values))
        except Exception as error:
            if self.driver.is_closed():
                # SQLAlchemy is to find that out: it makes its pool forget connections that are no younger.
                self._connection.exec_driver_sql("SELECT 1")
            if (refusal := refusal_of(error)) is not None:
                raise refusal from error
            if not isinstance(error, _DRIVER_ERRORS):
                raise
            base: type[Exception] = self._adapter.dbapi.Error
            try:
                self._adapter._handle_exception(error)  # noqa: SLF001 - SQLAlchemy's table of asyncpg's errors
            except base as translated:
                raise DBAPIError.instance(sql, values, translated, base, dialect=self.dialect) from error
            raise

    def is_clean(self) -> bool:
        """Whether it can be lent again: it lives, and no transaction is open on it."""
        return not (self._connection.invalidated or self.driver.is_closed() or self.driver.is_in_transaction())

    def clean(self) -> None:
        """End what a failure has left open."""
        if not self.is_clean():
            with suppress(*_DRIVER_ERRORS, OSError):
                await_only(self.driver.execute("ROLLBACK"))

    def close(self) -> None:
        if self.is_clean():
            self._connection.close()
        else:
            self.discard()

    def discard(self) -> None:
        self._connection.invalidate()
        self._connection.close()


class _Sessions:
    """Connections that stay out of the engine's pool between two uses, as long as the pool has others to lend.

    To take one from the pool and to give it back there costs more processor time than reading a row.
    """

    def __init__(self, engine: AsyncEngine, on_statements: OnStatements | None) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT").sync_engine
        self._statements = Statements(engine.dialect)
        self._on_statements = on_statements
        self._idle: list[_Session] = []

    @contextmanager
    def session(self) -> Iterator[_Session]:
        session = self.take()
        with self.returned(session):
            yield session

    @contextmanager
    def returned(self, session: _Session) -> Iterator[None]:
        """Give the session back at the end, also after an error."""
        try:
            yield
        except Exception:
            try:
                session.clean()
            except BaseException:
                # Cancelled while it waits for the server: else the session would be neither given back nor closed.
                session.discard()
                raise
            self.give_back(session)
            raise
        except BaseException:
            # Cancelled: what the server is at is not worth waiting for.
            session.discard()
            raise
        self.give_back(session)

    def take(self) -> _Session:
        if self._idle:
            return self._idle.pop()
        return _Session(self._engine.connect(), self._statements, self._on_statements)

    def give_back(self, session: _Session) -> None:
        # Once the pool has lent all, something may be waiting for one there.
        pool = cast("QueuePool", self._engine.pool)
        if len(self._idle) < _MAX_IDLE and pool.checkedout() < pool.size() and session.is_clean():
            self._idle.append(session)
        else:
            session.close()

    def drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
