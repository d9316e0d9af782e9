"""The one thread of a process that touches the SQLite file.

Everything that is waiting goes into one `BEGIN IMMEDIATE ... COMMIT`: a commit costs one fsync however many operations
it holds, so a busy broker pays for few. Each operation runs in a savepoint; one that fails undoes only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chassis.broker.port import BrokerUnavailable

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]

MAX_WAITING = 10_000
MAX_BATCH = 1_000
LOCK_TIMEOUT = 5.0
LOCK_PAUSE = 0.0005


@dataclass(slots=True)
class _Operation:
    query: Query[Any]
    answer: asyncio.Future[Any]
    writes: bool
    durable: bool = False
    news: bool = False
    outcome: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        if self.answer.done():  # whoever asked was cancelled
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.outcome)


class Writer:
    """Runs queries on one connection, in the order they are asked for."""

    def __init__(self, path: Path, prepare: Query[None], tell: Callable[[], None], ring: Callable[[], None]) -> None:
        """`prepare` runs once, on the new connection. News is announced by `tell` in the loop, `ring` in the thread."""
        self._path = path
        self._prepare = prepare
        self._tell = tell
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._places = asyncio.Semaphore(MAX_WAITING)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self._synchronous = ""
        self._thread = threading.Thread(target=self._work, name="embedded-broker", daemon=True)

    async def open(self) -> None:
        """Open the file. Raises `BrokerUnavailable`."""
        self._thread.start()
        await self._opened

    async def close(self) -> None:
        """Finish what is waiting and close the file."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)

    async def read(self, query: Query[T]) -> T:
        """The answer of a query that writes nothing."""
        answer: T = await self._run(_Operation(query, self._loop.create_future(), writes=False))
        return answer

    async def write(self, query: Query[T], *, durable: bool = False, news: bool = False) -> T:
        """The answer of a query, once committed.

        `durable`: once it would survive a power failure too. `news`: subscribers should look again.
        """
        operation = _Operation(query, self._loop.create_future(), writes=True, durable=durable, news=news)
        answer: T = await self._run(operation)
        return answer

    async def _run(self, operation: _Operation) -> Any:
        async with self._places:
            if self._closed:
                raise BrokerUnavailable("the broker is closed")
            self._waiting.put(operation)
            return await operation.answer

    def _work(self) -> None:
        try:
            connection = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT, isolation_level=None)
            self._prepare(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # from here on `_begin` waits, in shorter steps
        except sqlite3.Error as error:
            unavailable = BrokerUnavailable(f"cannot open {self._path}: {error}")
            self._loop.call_soon_threadsafe(self._opened.set_exception, unavailable)
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        with contextlib.closing(connection):
            while batch := self._next_batch():
                self._run_batch(connection, batch)
                with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody waits any more
                    self._loop.call_soon_threadsafe(self._announce, batch)
                if any(operation.news for operation in batch):
                    self._ring()

    def _announce(self, batch: list[_Operation]) -> None:
        for operation in batch:
            operation.resolve()
        if any(operation.news for operation in batch):
            self._tell()

    def _next_batch(self) -> list[_Operation]:
        """What is waiting, at least one operation; nothing once the writer is closed."""
        first = self._waiting.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._waiting.put(None)
                break
            batch.append(following)
        return batch

    def _run_batch(self, connection: sqlite3.Connection, batch: list[_Operation]) -> None:
        writes = [operation for operation in batch if operation.writes]
        if writes:
            try:
                self._run_transaction(connection, writes)
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                for operation in writes:
                    operation.error = BrokerUnavailable(f"cannot write {self._path}: {error}")
        for operation in batch:
            if not operation.writes:
                _attempt(connection, operation)

    def _run_transaction(self, connection: sqlite3.Connection, writes: list[_Operation]) -> None:
        # In WAL mode NORMAL commits without fsync: safe against the death of a process, not of the machine. That is
        # enough for claims and settlements, since what they undo after a power failure is a redelivery.
        synchronous = "FULL" if any(operation.durable for operation in writes) else "NORMAL"
        if synchronous != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        _begin(connection)
        for operation in writes:
            connection.execute("SAVEPOINT operation")
            _attempt(connection, operation)
            if operation.error is not None and connection.in_transaction:
                connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
        connection.execute("COMMIT")


def _begin(connection: sqlite3.Connection) -> None:
    """Take the write lock. SQLite's own wait backs off to 100 ms; a commit here takes about one."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(LOCK_PAUSE)
        else:
            return


def _attempt(connection: sqlite3.Connection, operation: _Operation) -> None:
    try:
        operation.outcome = operation.query(connection)
    except sqlite3.Error as error:
        operation.error = BrokerUnavailable(str(error))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever asked, and must not end the thread
        operation.error = error
