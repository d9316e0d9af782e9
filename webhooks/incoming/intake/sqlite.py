"""The intake on SQLite: one thread, one statement, one fsync for everything that waits.

The statement is its own transaction, so the interpreter's lock changes hands once for a group. A BEGIN, an INSERT for
each webhook and a COMMIT would give it up for each of them, and a busy event loop gives it back after 5 ms.

Moving the log's pages into the database file (a checkpoint) is another thread's work. SQLite does it after whichever
commit makes the log 1,000 pages long, some 20 ms in which every request waits: it was most of the 99th percentile.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from typing import TypeVar

from chassis.database.batching import Batcher
from chassis.database.sqlite_busy import retry_while_busy, use_write_ahead_log
from webhooks.incoming.domain import Webhook
from webhooks.incoming.intake.bounds import BATCH_SIZE, answered, values_of

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LOCK_TIMEOUT = 4.0
# Webhooks between two checkpoints; and the log's size in pages (64 MiB) at which a commit does the rest of a checkpoint
# itself, since under a flood the checkpoint thread never reaches the end. At 16 MiB this happened twice a second and
# showed in the 99th percentile.
_CHECKPOINT_AFTER = 1_000
MAX_LOG = 16_000
_INSERT = """INSERT INTO webhooks
    (id, provider, provider_event_id, event_type, body, headers, received_at, traceparent, status, attempts, error,
    replays) VALUES """
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, 'received', 0, '', 0)"


class SqliteIntake:
    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._checkpoints = _Checkpoints(path)
        self._connection: sqlite3.Connection | None = None
        self._adding = Batcher(self._add_together, batch_size=BATCH_SIZE)

    async def add(self, webhook: Webhook) -> bool:
        return await answered(self._adding.submit(webhook), sqlite3.Error)

    async def healthy(self) -> bool:
        try:
            await self._run(lambda db: db.execute("SELECT id FROM webhooks LIMIT 1").fetchone())
        except sqlite3.Error:
            return False
        return True

    async def _add_together(self, group: Sequence[Webhook]) -> list[bool]:
        new = await self._run(lambda db: _insert(db, group))
        self._checkpoints.count(len(group))
        return new

    async def _run(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._step, step)

    def _step(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._connection is None:
            self._connection = _open(self._path)
        return step(self._connection)

    def close(self) -> None:
        """Wait for the step under way and close the file."""
        self._checkpoints.close()
        if self._connection is not None:
            self._thread.submit(self._connection.close).result()
        self._thread.shutdown()


class _Checkpoints:
    """Checkpoints in a thread of their own, on a connection of their own: no writer waits for a passive one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None
        self._written = 0

    def count(self, written: int) -> None:
        """Count webhooks that were written to the log, and start a checkpoint when there are enough."""
        self._written += written
        if self._written >= _CHECKPOINT_AFTER and (self._under_way is None or self._under_way.done()):
            self._written = 0
            self._under_way = self._thread.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        try:
            with closing(_open(self._path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            # Nothing is lost by it: the next one, or a commit, does the same.
            log.warning("webhook store: WAL checkpoint failed", extra={"reason": str(error)})

    def close(self) -> None:
        """Wait for the one under way."""
        self._thread.shutdown()


@asynccontextmanager
async def sqlite_intake(path: str) -> AsyncIterator[SqliteIntake]:
    """The intake of the file at `path`."""
    intake = SqliteIntake(path)
    try:
        yield intake
    finally:
        intake.close()


def _open(path: str) -> sqlite3.Connection:
    # A statement for each size of a group, prepared once; no waiting for locks but ours, below.
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=BATCH_SIZE + 8)
    use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    connection.execute(f"PRAGMA wal_autocheckpoint = {MAX_LOG}")
    return connection


def _insert(db: sqlite3.Connection, group: Sequence[Webhook]) -> list[bool]:
    """Keep the group; which of them are new."""
    # A moment as SQLAlchemy writes it.
    times = [webhook.received_at.replace(tzinfo=None).isoformat(" ", "microseconds") for webhook in group]
    values = [value for webhook, time in zip(group, times, strict=True) for value in values_of(webhook, time)]
    statement = f"{_INSERT}{', '.join([_ROW] * len(group))} ON CONFLICT DO NOTHING"
    # Once no other connection is writing.
    if retry_while_busy(lambda: db.execute(statement, values), timeout=_LOCK_TIMEOUT).rowcount == len(group):
        return [True] * len(group)
    found = db.execute(
        f"SELECT id FROM webhooks WHERE id IN ({', '.join('?' * len(group))})",  # noqa: S608  # nosec B608 # question marks
        [webhook.id for webhook in group],
    )
    new = {row[0] for row in found}
    return [webhook.id in new for webhook in group]
