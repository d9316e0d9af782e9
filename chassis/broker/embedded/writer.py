"""The one thread of a process that waits for the SQLite file.

Everything that is waiting goes into one `BEGIN IMMEDIATE ... COMMIT`: a commit costs one fsync however many operations
it holds, so a busy broker pays for few. Each operation runs in a savepoint; one that fails undoes only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chassis.broker.embedded.nonblocking import LeftToWriter, NonBlocking
from chassis.broker.port import BrokerUnavailable
from chassis.database.sqlite_busy import BUSY_TIMEOUT, retry_while_busy

log = logging.getLogger(__name__)

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]
# Called with what has changed: queues, or the log.
OnChange = Callable[[frozenset[str]], None]

MAX_WAITING = 10_000
MAX_BATCH = 1_000
NOTHING: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Operation:
    query: Query[Any]
    answer: asyncio.Future[Any]
    writes: bool
    durable: bool = False
    news: frozenset[str] = NOTHING
    unless: Query[Any] | None = None
    outcome: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        if self.answer.done():  # the caller was cancelled
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.outcome)


class Writer:
    """Runs queries on one connection, in the order of their calls."""

    def __init__(self, path: Path, prepare: Query[None], wake: OnChange, notify: OnChange) -> None:
        """`prepare` runs once, on the new connection. Changes go to `wake` (loop) and `notify` (thread)."""
        self._path = path
        self._prepare = prepare
        self._wake = wake
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._nonblocking = NonBlocking(path)
        # Operations that the thread has not finished: what comes after them must not overtake them.
        self._unfinished = 0
        self._waiting: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._places = asyncio.Semaphore(MAX_WAITING)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self._synchronous = ""
        self._file = (0, 0)
        self._thread = threading.Thread(target=self._work, name="embedded-broker", daemon=True)

    async def open(self) -> None:
        """Open the file. Raises `BrokerUnavailable`."""
        self._thread.start()
        await self._opened

    async def close(self) -> None:
        """Finish what is waiting and close the file."""
        if not self._closed:
            self._closed = True
            self._nonblocking.close()
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)

    async def read(self, query: Query[T]) -> T:
        """The answer of a query that writes nothing."""
        if not (self._closed or self._unfinished):
            with contextlib.suppress(LeftToWriter):
                return self._nonblocking.read(query)
        answer: T = await self._run(_Operation(query, self._loop.create_future(), writes=False))
        return answer

    async def write(
        self,
        query: Query[T],
        *,
        durable: bool = False,
        news: frozenset[str] = NOTHING,
        unless: Query[T | None] | None = None,
    ) -> T:
        """The answer of a query, once committed.

        `durable`: once it would survive a power failure too. `news`: whose subscribers should look again. `unless` runs
        first, without the lock: where it has an answer, that is the answer, and nothing is written.
        """
        if not (self._closed or self._unfinished or durable or news):
            with contextlib.suppress(LeftToWriter):
                if unless is not None and (known := self._nonblocking.read(unless)) is not None:
                    return known
                return self._nonblocking.write(query)
        answer = self._loop.create_future()
        operation = _Operation(query, answer, writes=True, durable=durable, news=news, unless=unless)
        outcome: T = await self._run(operation)
        return outcome

    async def _run(self, operation: _Operation) -> Any:
        async with self._places:
            if self._closed:
                raise BrokerUnavailable("the broker is closed")
            self._unfinished += 1
            self._waiting.put(operation)
            return await operation.answer

    def _work(self) -> None:
        try:
            connection = self._open()
        except (sqlite3.Error, OSError) as error:
            unavailable = BrokerUnavailable(f"cannot open {self._path}: {error}")
            self._loop.call_soon_threadsafe(self._opened.set_exception, unavailable)
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        try:
            while batch := self._next_batch():
                connection = self._current(connection, batch)
                self._run_batch(connection, batch)
                with contextlib.suppress(RuntimeError):  # the loop was closed under us: no caller waits any more
                    self._loop.call_soon_threadsafe(self._finish, batch)
                if news := _news(batch):
                    self._notify(news)
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            self._prepare(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # from here on `retry_while_busy` waits, in shorter steps
            self._file = _identity(self._path)
        except BaseException:
            connection.close()
            raise
        self._synchronous = ""
        return connection

    def _current(self, connection: sqlite3.Connection, batch: list[_Operation]) -> sqlite3.Connection:
        """A connection to the file that is there now: one that was removed or replaced is read by no other process."""
        try:
            try:
                if _identity(self._path) == self._file:
                    return connection
                log.warning("embedded broker: file %s was replaced; reopened", self._path)
            except FileNotFoundError:
                log.warning(
                    "embedded broker: file %s was removed; created an empty one, its messages are lost", self._path
                )
            reopened = self._open()
        except (sqlite3.Error, OSError) as error:
            # The next batch looks at the file again.
            for operation in batch:
                operation.error = BrokerUnavailable(f"cannot open {self._path}: {error}")
            return connection
        connection.close()
        return reopened

    def _finish(self, batch: list[_Operation]) -> None:
        self._unfinished -= len(batch)
        for operation in batch:
            operation.resolve()
        if news := _news(batch):
            self._wake(news)

    def _next_batch(self) -> list[_Operation]:
        """The next batch: waiting operations, at least one; none once the writer is closed."""
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
        batch = [operation for operation in batch if operation.error is None]
        writes = [operation for operation in batch if operation.writes and not _spared(connection, operation)]
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
        retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        for operation in writes:
            connection.execute("SAVEPOINT operation")
            _attempt(connection, operation)
            if operation.error is not None and connection.in_transaction:
                connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
        connection.execute("COMMIT")


def _spared(connection: sqlite3.Connection, operation: _Operation) -> bool:
    """Whether a write has its answer, or its error, without being done."""
    if operation.unless is not None:
        _attempt(connection, operation, operation.unless)
    return operation.outcome is not None or operation.error is not None


def _news(batch: list[_Operation]) -> frozenset[str]:
    """The queues and logs that a batch has changed; failed operations have changed none."""
    return NOTHING.union(*(operation.news for operation in batch if operation.error is None))


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode of the file at a path. Raises `FileNotFoundError`."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _attempt(connection: sqlite3.Connection, operation: _Operation, query: Query[Any] | None = None) -> None:
    try:
        operation.outcome = (query or operation.query)(connection)
    except sqlite3.Error as error:
        operation.error = BrokerUnavailable(str(error))
    except Exception as error:  # noqa: BLE001 - it belongs to the caller, and must not end the thread
        operation.error = error
