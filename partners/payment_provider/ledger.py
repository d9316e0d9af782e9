"""The provider's books in one SQLite file: payment intents, what was answered to an idempotency key, events to tell."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from partners.payment_provider.domain import PaymentIntent, Status, as_json, event_for, key_reused, unknown

Result = TypeVar("Result")
Change = Callable[[PaymentIntent], PaymentIntent]

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS intents (
    id TEXT PRIMARY KEY, amount INTEGER NOT NULL, currency TEXT NOT NULL, order_id TEXT NOT NULL,
    status TEXT NOT NULL, created REAL NOT NULL, due REAL NOT NULL, traceparent TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS intents_by_order ON intents (order_id);
CREATE INDEX IF NOT EXISTS intents_due ON intents (due) WHERE status = 'processing';
CREATE TABLE IF NOT EXISTS answers (
    idempotency_key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, object TEXT NOT NULL, created REAL NOT NULL, traceparent TEXT NOT NULL,
    attempts INTEGER NOT NULL, next_attempt REAL NOT NULL, delivered REAL
);
CREATE INDEX IF NOT EXISTS events_pending ON events (next_attempt) WHERE delivered IS NULL;
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a request: an HTTP status and a JSON body."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event of which the shop has not been told yet. `object` is the intent as it was."""

    id: str
    type: str
    object: dict[str, Any]
    created: float
    traceparent: str
    attempts: int


MakeAnswer = Callable[[], tuple[Answer, PaymentIntent | None]]


class Ledger:
    """One thread owns the file, so that every step is a transaction of its own and none waits for another's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None

    async def answer_once(self, key: str, fingerprint: str, make: MakeAnswer) -> Answer:
        """The answer that was given to this idempotency key, or the one that `make` gives, kept with its intent.

        An empty key is new each time. Raises `Refused` when the key came with another request before.
        """

        def step(db: sqlite3.Connection) -> Answer:
            row = db.execute("SELECT * FROM answers WHERE idempotency_key = ?", (key,)).fetchone() if key else None
            if row:
                if row["fingerprint"] != fingerprint:
                    raise key_reused()
                return Answer(row["status"], json.loads(row["body"]))
            answer, intent = make()
            if intent:
                db.execute("INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(intent))
            if key:
                record = (key, fingerprint, answer.status, json.dumps(answer.body))
                db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", record)
            return answer

        return await self._run(step)

    async def change(self, intent_id: str, change: Change) -> PaymentIntent:
        """Change an intent and note the event that tells of it, together. Raises `Refused` for an unknown id."""
        return await self._run(lambda db: _change(db, _get(db, intent_id), change))

    async def collect_due(self, change: Change) -> float | None:
        """Change every intent whose time has come. Returns when the next one's comes, if there is one."""

        def step(db: sqlite3.Connection) -> float | None:
            due = "SELECT * FROM intents WHERE status = 'processing' AND due <= ? ORDER BY due"
            for row in db.execute(due, (time.time(),)).fetchall():
                _change(db, _intent(row), change)
            next_due = "SELECT min(due) FROM intents WHERE status = 'processing'"
            moment: float | None = db.execute(next_due).fetchone()[0]
            return moment

        return await self._run(step)

    async def get(self, intent_id: str) -> PaymentIntent:
        """Raises `Refused` for an unknown id."""
        return await self._run(lambda db: _get(db, intent_id))

    async def page(self, order_id: str, after: str, limit: int) -> list[PaymentIntent]:
        """Oldest first: `limit` intents that came after `after`, of one order or, when it is empty, of all."""
        query = """SELECT * FROM intents WHERE (?1 = '' OR order_id = ?1)
            AND rowid > coalesce((SELECT rowid FROM intents WHERE id = ?2), 0) ORDER BY rowid LIMIT ?3"""
        return await self._run(lambda db: [_intent(row) for row in db.execute(query, (order_id, after, limit))])

    async def untold(self, limit: int, *, besides: Collection[str]) -> tuple[list[PendingEvent], float | None]:
        """Events that the shop is to be told now, except `besides`; and when the first of the others is due."""
        others = "FROM events WHERE delivered IS NULL AND id NOT IN (SELECT value FROM json_each(?))"
        excluded = json.dumps(list(besides))

        def step(db: sqlite3.Connection) -> tuple[list[PendingEvent], float | None]:
            due = f"SELECT * {others} AND next_attempt <= ? ORDER BY next_attempt LIMIT ?"
            events = [_event(row) for row in db.execute(due, (excluded, time.time(), limit))]
            known = json.dumps([*besides, *(event.id for event in events)])
            return events, db.execute(f"SELECT min(next_attempt) {others}", (known,)).fetchone()[0]

        return await self._run(step)

    async def delivered(self, event_id: str) -> None:
        """The shop knows."""
        await self._note(event_id, "delivered", time.time())

    async def postpone(self, event_id: str, delay: float) -> None:
        """Try again in `delay` seconds."""
        await self._note(event_id, "next_attempt", time.time() + delay)

    async def _note(self, event_id: str, column: str, moment: float) -> None:
        statement = f"UPDATE events SET {column} = ?, attempts = attempts + 1 WHERE id = ?"  # noqa: S608  # ours, above

        def step(db: sqlite3.Connection) -> None:
            db.execute(statement, (moment, event_id))

        await self._run(step)

    async def _run(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, step)

    def _transaction(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = step(self._connection)
            self._connection.execute("COMMIT")
            return result
        finally:
            # After an error, also the commit's own: left open, it would stand in the way of every later one. Some
            # errors, such as a full disk, have ended it already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Wait for the step under way and close the file."""
        if self._connection is not None:
            self._thread.submit(self._connection.close).result()
        self._thread.shutdown()


@asynccontextmanager
async def open_ledger(path: Path) -> AsyncIterator[Ledger]:
    """The ledger in the file at `path`, which is made when it is missing."""
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()


def _get(db: sqlite3.Connection, intent_id: str) -> PaymentIntent:
    row = db.execute("SELECT * FROM intents WHERE id = ?", (intent_id,)).fetchone()
    if row is None:
        raise unknown(intent_id)
    return _intent(row)


def _change(db: sqlite3.Connection, before: PaymentIntent, change: Change) -> PaymentIntent:
    after = change(before)
    db.execute("UPDATE intents SET status = ? WHERE id = ?", (after.status, after.id))
    event_type = event_for(before.status, after.status)
    if event_type:
        now = time.time()
        event = (f"evt_{uuid.uuid4().hex}", event_type, json.dumps(as_json(after)), now, after.traceparent, 0, now)
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", event)
    return after


def _row(intent: PaymentIntent) -> tuple[object, ...]:
    moments = (intent.created, intent.due)
    return (intent.id, intent.amount, intent.currency, intent.order_id, intent.status, *moments, intent.traceparent)


def _intent(row: sqlite3.Row) -> PaymentIntent:
    return PaymentIntent(**{**dict(row), "status": Status(row["status"])})


def _event(row: sqlite3.Row) -> PendingEvent:
    named = {name: row[name] for name in ("id", "type", "created", "traceparent", "attempts")}
    return PendingEvent(**named, object=json.loads(row["object"]))
