"""The embedded broker's tables and their SQL. Every function runs in the writer's thread.

The log and each queue have their own copy of an event, as on RabbitMQ: pruning the log needs to check no queue.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from chassis.broker import cloudevents
from chassis.broker.event_log import LogEntry, Position
from chassis.broker.port import DeadLetter, Event, QueueDepth, QueuedEvent
from chassis.broker.retention import Retention
from chassis.database.sqlite_busy import use_write_ahead_log
from chassis.retention import Deleted, Kept
from chassis.retention import Retention as TableRetention

PRUNE_BATCH_SIZE = 1_000
# Of the file, in `PRAGMA user_version`.
_VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    attributes TEXT NOT NULL, data BLOB NOT NULL, stored_at REAL NOT NULL
);
-- `holder` is the subscription that has it. `not_before` and `waiting_since` are set while it waits for a retry.
CREATE TABLE IF NOT EXISTS queued (
    queue TEXT NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 1,
    not_before REAL, holder TEXT, attributes TEXT NOT NULL, data BLOB NOT NULL, waiting_since REAL,
    PRIMARY KEY (queue, position)
);
CREATE INDEX IF NOT EXISTS ready ON queued (queue, position) WHERE holder IS NULL AND not_before IS NULL;
CREATE INDEX IF NOT EXISTS delayed ON queued (queue, not_before) WHERE not_before IS NOT NULL;
CREATE INDEX IF NOT EXISTS waiting ON queued (queue, waiting_since) WHERE waiting_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS held ON queued (holder) WHERE holder IS NOT NULL;
CREATE TABLE IF NOT EXISTS dead (
    queue TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL,
    attempts INTEGER NOT NULL, died_at REAL NOT NULL, attributes TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (queue, position)
);
CREATE INDEX IF NOT EXISTS dead_event ON dead (queue, event_id);
"""
RETENTION: TableRetention = {
    "log": Deleted("after 7 days or 100,000 events (chassis.broker.retention), by prune"),
    "queued": Deleted("when its consumer has acknowledged the event"),
    "dead": Kept("until an operator replays it: nothing is dropped without a person's decision"),
}

LogRow = tuple[int, str, bytes]
"""An entry's number, its attributes, and its data."""

_HELD = " WHERE queue = ? AND position = ? AND holder = ?"


class Routed(NamedTuple):
    """An event to publish: its CloudEvents attributes, its data, and the queues that are bound to its type."""

    attributes: Mapping[str, str]
    data: bytes
    queues: Sequence[str]


class Held(NamedTuple):
    """Names a row of a queue as long as one subscription holds it."""

    queue: str
    position: int
    holder: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that has just been claimed."""

    held: Held
    attempt: int
    event: Event


@dataclass(frozen=True, slots=True)
class Look:
    """Result of a claim: rows that the consumer holds now, and when the queue has, or will have, more (see `due`)."""

    claims: Sequence[Claim]
    due: float | None


def prepare(connection: sqlite3.Connection) -> None:
    """Put a new connection into WAL mode and create what is missing."""
    use_write_ahead_log(connection)
    connection.execute("BEGIN IMMEDIATE")
    _upgrade(connection)
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection) -> None:
    """Add what a file of an older version does not have."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(queued)")}
    if columns and "waiting_since" not in columns:
        connection.execute("ALTER TABLE queued ADD COLUMN waiting_since REAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version >= _VERSION:
        return
    if columns:
        # The names of attributes had AMQP's prefix.
        connection.create_function("without_prefix", 1, _without_prefix, deterministic=True)
        for table in ("log", "queued", "dead"):
            connection.execute(f"UPDATE {table} SET attributes = without_prefix(attributes)")  # noqa: S608  # nosec B608 # our own names
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _without_prefix(attributes: str) -> str:
    named = orjson.loads(attributes)
    return _text({name.removeprefix(cloudevents.PREFIX): value for name, value in named.items()})


def publish(connection: sqlite3.Connection, routed: Sequence[Routed], now: float, *, logged: bool = True) -> None:
    """Append events to the log, unless it is elsewhere, and to the queues that each is routed to."""
    insert = "INSERT INTO log (attributes, data, stored_at) VALUES (?, ?, ?)"
    if logged and not any(event.queues for event in routed):
        # No queue needs an entry's number: SQLite takes them all in one call.
        connection.executemany(insert, [(_text(event.attributes), event.data, now) for event in routed])
        return
    for event in routed:
        attributes = _text(event.attributes)
        position = connection.execute(insert, (attributes, event.data, now)).lastrowid
        connection.executemany(
            "INSERT INTO queued (queue, position, attributes, data) VALUES (?, ?, ?, ?)",
            [(queue, position, attributes, event.data) for queue in event.queues],
        )
        if not logged:  # its number stays used
            connection.execute("DELETE FROM log WHERE position = ?", (position,))


def due(connection: sqlite3.Connection, queue: str, now: float) -> float | None:
    """Time (seconds since the epoch) from which the queue has something to claim: 0 for now, None for nothing.

    It is 0 too when the clock was set back, which `claim` makes up for.
    """
    if connection.execute(
        "SELECT 1 FROM queued WHERE queue = ? AND holder IS NULL AND not_before IS NULL LIMIT 1", (queue,)
    ).fetchone():
        return 0
    if connection.execute(
        "SELECT 1 FROM queued WHERE queue = ? AND waiting_since > ? LIMIT 1", (queue, now)
    ).fetchone():
        return 0
    when: float | None = connection.execute(
        "SELECT min(not_before) FROM queued WHERE queue = ? AND not_before IS NOT NULL", (queue,)
    ).fetchone()[0]
    return when


def nothing_due(connection: sqlite3.Connection, queue: str, now: float) -> Look | None:
    """An empty look where a claim would find nothing, so that none needs the lock; None where there is something."""
    when = due(connection, queue, now)
    return Look((), when) if when is None or when > now else None


def claim(connection: sqlite3.Connection, queue: str, holder: str, limit: int, now: float) -> Look:
    """Hold up to `limit` rows of a queue, oldest first.

    A wait that began in the future did so before the clock was set back. It begins again, so that it takes as long
    as it was meant to and not as long as the clock was wrong.
    """
    connection.execute(
        "UPDATE queued SET not_before = not_before - waiting_since + ?2, waiting_since = ?2"
        " WHERE queue = ?1 AND waiting_since > ?2",
        (queue, now),
    )
    connection.execute(
        "UPDATE queued SET not_before = NULL, waiting_since = NULL"
        " WHERE queue = ? AND not_before IS NOT NULL AND not_before <= ?",
        (queue, now),
    )
    rows = connection.execute(
        "SELECT position, attempt, attributes, data FROM queued"
        " WHERE queue = ? AND holder IS NULL AND not_before IS NULL ORDER BY position LIMIT ?",
        (queue, limit),
    ).fetchall()
    connection.executemany(
        "UPDATE queued SET holder = ? WHERE queue = ? AND position = ?", [(holder, queue, row[0]) for row in rows]
    )
    claims = [
        Claim(Held(queue, position, holder), attempt, _event(attributes, data))
        for position, attempt, attributes, data in rows
    ]
    return Look(claims, due(connection, queue, now))


def ack(connection: sqlite3.Connection, held: Held) -> bool:
    """Forget a held row; False when it is not held any more."""
    return _touched(connection, "DELETE FROM queued" + _HELD, *held)  # noqa: S608  # nosec B608 # two constants


def retry(connection: sqlite3.Connection, held: Held, delay: float, now: float) -> bool:
    """Give a held row back for `delay` seconds later; False when it is not held any more."""
    change = "UPDATE queued SET holder = NULL, attempt = attempt + 1, not_before = ?, waiting_since = ?"
    return _touched(connection, change + _HELD, now + delay, now, *held)


def dead_letter(connection: sqlite3.Connection, held: Held, event_id: str, reason: str, now: float) -> bool:
    """Move a held row to the dead letters; False when it is not held any more."""
    copy = "INSERT INTO dead SELECT queue, position, ?, ?, attempt, ?, attributes, data FROM queued"
    return _touched(connection, copy + _HELD, event_id, reason, now, *held) and ack(connection, held)


def give_back(connection: sqlite3.Connection, rows: Sequence[Held]) -> None:
    """Give back some of what a subscription holds."""
    connection.executemany("UPDATE queued SET holder = NULL" + _HELD, rows)  # noqa: S608  # nosec B608 # two constants


def release(connection: sqlite3.Connection, holder: str) -> None:
    """Give back everything that one subscription holds."""
    connection.execute("UPDATE queued SET holder = NULL WHERE holder = ?", (holder,))


def holders(connection: sqlite3.Connection) -> list[str]:
    """Every subscription that holds something."""
    return [row[0] for row in connection.execute("SELECT DISTINCT holder FROM queued WHERE holder IS NOT NULL")]


def version(connection: sqlite3.Connection) -> int:
    """A number that changes whenever another connection commits."""
    number: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return number


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """The first and the last position of the log. One that is empty begins after the last that was ever given out."""
    # Two queries: SQLite finds either end at once, and both together by reading the whole log.
    first, last = connection.execute(
        "SELECT (SELECT min(position) FROM log), (SELECT max(position) FROM log)"
    ).fetchone()
    if first is None:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        last = row[0] if row else 0
        first = last + 1
    return first, last


def log_rows(connection: sqlite3.Connection, after: int, limit: int, max_bytes: int) -> list[LogRow]:
    """The log from right after a position, oldest first: up to so many entries, and no more after so many bytes."""
    rows = connection.execute(
        "SELECT position, attributes, data FROM log WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
    )
    found: list[LogRow] = []
    size = 0
    for row in rows:
        found.append(row)
        size += len(row[2])
        if size >= max_bytes:
            break
    return found


def entry(row: LogRow) -> LogEntry:
    """The entry in a row of the log."""
    offset, attributes, data = row
    return LogEntry(Position((offset,)), cloudevents.event_of(orjson.loads(attributes), data))


def prune(connection: sqlite3.Connection, retention: Retention, now: float) -> None:
    """Drop the oldest entries that are past either limit, a bounded number at a time; the newest always stays.

    It looks only at the oldest rows, so its cost does not grow with the log; and it leaves no holes, whatever the
    clock did, so that a gap shows a reader that it fell behind.
    """
    first, last = bounds(connection)
    end = min(first + PRUNE_BATCH_SIZE, last)
    connection.execute(
        "DELETE FROM log WHERE position < (SELECT coalesce(min(position), :end) FROM log"
        " WHERE position < :end AND position > :expired AND stored_at >= :since)",
        {"end": end, "expired": last - retention.events, "since": now - retention.age.total_seconds()},
    )


def dead_letters(connection: sqlite3.Connection, queue: str, limit: int) -> list[DeadLetter]:
    """The oldest dead letters of a queue."""
    rows = connection.execute(
        "SELECT event_id, reason, attempts, died_at, attributes, data FROM dead"
        " WHERE queue = ? ORDER BY died_at LIMIT ?",
        (queue, limit),
    )
    return [
        DeadLetter(id_, queue, _event(attributes, data), reason, attempts, datetime.fromtimestamp(died_at, UTC))
        for id_, reason, attempts, died_at, attributes, data in rows
    ]


def queued(connection: sqlite3.Connection, queue: str, limit: int) -> list[QueuedEvent]:
    """The oldest rows of a queue, claimed or not."""
    rows = connection.execute(
        "SELECT attempt, not_before, holder, attributes, data FROM queued WHERE queue = ? ORDER BY position LIMIT ?",
        (queue, limit),
    )
    found = []
    for attempt, not_before, holder, attributes, data in rows:
        event = _event(attributes, data)
        until = None if not_before is None else datetime.fromtimestamp(not_before, UTC)
        found.append(QueuedEvent(event.id, queue, event.type, event.subject, attempt, until, holder is not None))
    return found


def replay(connection: sqlite3.Connection, queue: str, event_id: str) -> bool:
    """Put a dead letter back into its queue, at its old place and as new; False when there is none."""
    position = _oldest_dead(connection, queue, event_id)
    return _touched(
        connection,
        "INSERT INTO queued (queue, position, attributes, data)"
        " SELECT queue, position, attributes, data FROM dead WHERE queue = ? AND position = ?",
        queue, position,
    ) and _drop(connection, queue, event_id)  # fmt: skip


def drop(connection: sqlite3.Connection, queue: str, event_ids: Iterable[str]) -> set[str]:
    """Forget a dead letter of each id; the ids that were found."""
    return {each for each in event_ids if _drop(connection, queue, each)}


def _drop(connection: sqlite3.Connection, queue: str, event_id: str) -> bool:
    position = _oldest_dead(connection, queue, event_id)
    return _touched(connection, "DELETE FROM dead WHERE queue = ? AND position = ?", queue, position)


def _oldest_dead(connection: sqlite3.Connection, queue: str, event_id: str) -> int | None:
    """Position of a dead letter; an event that was published twice may have died twice."""
    position: int | None = connection.execute(
        "SELECT min(position) FROM dead WHERE queue = ? AND event_id = ?", (queue, event_id)
    ).fetchone()[0]
    return position


def depths(connection: sqlite3.Connection, queues: Iterable[str]) -> list[QueueDepth]:
    """Depth of the queues, by kind of row."""
    counts = {
        queue: (total - delayed, delayed)
        for queue, total, delayed in connection.execute(
            "SELECT queue, count(*), count(not_before) FROM queued GROUP BY queue"
        )
    }
    dead: dict[str, int] = dict(connection.execute("SELECT queue, count(*) FROM dead GROUP BY queue").fetchall())
    first = "SELECT attributes, data FROM queued WHERE queue = ? ORDER BY position LIMIT 1"
    heads = {queue: connection.execute(first, (queue,)).fetchone() for queue in counts}
    oldest = {queue: _event(*head).time for queue, head in heads.items()}
    return [
        QueueDepth(queue, *counts.get(queue, (0, 0)), dead.get(queue, 0), oldest=oldest.get(queue)) for queue in queues
    ]


def _event(attributes: str, data: bytes) -> Event:
    return cloudevents.event_of(orjson.loads(attributes), data)


def _text(attributes: Mapping[str, str]) -> str:
    return orjson.dumps(attributes).decode()


def _touched(connection: sqlite3.Connection, statement: str, *values: object) -> bool:
    return connection.execute(statement, values).rowcount > 0
