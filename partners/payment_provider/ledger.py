"""The provider's books in one SQLite file: payment intents, answers by idempotency key, events to send."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from chassis import wall_clock
from partners.payment_provider import domain
from partners.payment_provider.domain import PaymentIntent, Refund, Status, as_json, event_for, key_reused, unknown
from partners.payment_provider.tables import SCHEMA, upgrade

Result = TypeVar("Result")
Change = Callable[[PaymentIntent], PaymentIntent]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request: an HTTP status and a JSON body."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event not yet delivered to the shop. `object` is the intent as it was."""

    id: str
    type: str
    object: dict[str, Any]
    created: float
    traceparent: str
    attempts: int


class Due(NamedTuple):
    """Events to be sent now; and when the next payment is to be collected, and another event to be sent, if any is."""

    events: list[PendingEvent]
    next_collection: float | None
    next_attempt: float | None


MakeAnswer = Callable[[], tuple[Answer, PaymentIntent | None]]
Transaction = Callable[[sqlite3.Connection], Answer]


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

        def pay(db: sqlite3.Connection) -> Answer:
            answer, intent = make()
            if intent and _closed(db, intent.order_id):
                refusal = domain.order_closed(intent.order_id)
                return Answer(refusal.status, {"error": refusal.fields})
            if intent:
                db.execute("INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(intent))
            return answer

        return await self._run(lambda db: _once(db, key, fingerprint, pay))

    async def refund(self, key: str, fingerprint: str, intent_id: str, amount: int | None) -> Answer:
        """Give a payment back, or a part, and record its event; once for each idempotency key.

        Raises `Refused` for what cannot be given back; nothing is kept of such a request.
        """

        def give_back(db: sqlite3.Connection) -> Answer:
            before = _get(db, intent_id)
            after, given = domain.refund(before, amount)
            _write(db, before, after)
            identity = f"re_{uuid.uuid4().hex}"
            refund = Refund(identity, intent_id, given, before.currency, before.order_id, wall_clock.seconds())
            values = (refund.id, intent_id, given, refund.currency, refund.order_id, refund.created)
            db.execute("INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?)", values)
            return Answer(200, domain.refund_as_json(refund))

        return await self._run(lambda db: _once(db, key, fingerprint, give_back))

    async def refunds(self, order_id: str | None, after: str, limit: int) -> list[Refund]:
        """Oldest first: `limit` refunds after `after`, of one order or, for None, of all."""
        rows = await self._run(lambda db: _page(db, "refunds", after, limit, order_id=order_id))
        return [Refund(**dict(row)) for row in rows]

    async def close_order(self, order_id: str) -> list[PaymentIntent]:
        """Let nothing more be paid for an order; its payments, of which those that are not collected are cancelled."""

        def step(db: sqlite3.Connection) -> list[PaymentIntent]:
            db.execute("INSERT OR IGNORE INTO closed_orders VALUES (?)", (order_id,))
            rows = db.execute("SELECT * FROM intents WHERE order_id = ? ORDER BY rowid", (order_id,)).fetchall()
            collected = {Status.SUCCEEDED, Status.REFUNDED}
            intents = map(_intent, rows)
            return [each if each.status in collected else _change(db, each, domain.withdrawn) for each in intents]

        return await self._run(step)

    async def change(self, intent_id: str, change: Change) -> PaymentIntent:
        """Change an intent and record its event in one transaction. Raises `Refused` for an unknown id."""
        return await self._run(lambda db: _change(db, _get(db, intent_id), change))

    async def due(
        self, change: Change, limit: int, *, besides: Collection[str], collected_within: float, sent_within: float
    ) -> Due:
        """Change every intent that is due, and return what is to be sent: `limit` events, none of `besides`.

        None waits for longer than `…_within` seconds: the clock was set back since its time was written.
        """

        def step(db: sqlite3.Connection) -> Due:
            next_collection = _collect_due(db, change, collected_within)
            events, next_attempt = _undelivered(db, limit, besides, sent_within)
            return Due(events, next_collection, next_attempt)

        return await self._run(step)

    async def get(self, intent_id: str) -> PaymentIntent:
        """Raises `Refused` for an unknown id."""
        return await self._run(lambda db: _get(db, intent_id))

    async def page(self, order_id: str | None, after: str, limit: int) -> list[PaymentIntent]:
        """Oldest first: `limit` intents after `after`, of one order or, for None, of all."""
        rows = await self._run(lambda db: _page(db, "intents", after, limit, order_id=order_id))
        return [_intent(row) for row in rows]

    async def events(self, after: str, limit: int, *, undelivered: bool) -> list[PendingEvent]:
        """Oldest first: `limit` events after `after`, all of them or only undelivered ones."""
        condition = "delivered IS NULL" if undelivered else "true"
        rows = await self._run(lambda db: _page(db, "events", after, limit, condition=condition))
        return [_event(row) for row in rows]

    async def delivered(self, event_id: str) -> None:
        """Mark an event as delivered to the shop."""
        await self._note(event_id, "delivered", wall_clock.seconds())

    async def postpone(self, event_id: str, delay: float) -> None:
        """Try again in `delay` seconds."""
        await self._note(event_id, "next_attempt", wall_clock.seconds() + delay)

    async def _note(self, event_id: str, column: str, moment: float) -> None:
        statement = f"UPDATE events SET {column} = ?, attempts = attempts + 1 WHERE id = ?"  # noqa: S608  # nosec B608 # ours, above

        def step(db: sqlite3.Connection) -> None:
            db.execute(statement, (moment, event_id))

        await self._run(step)

    async def _run(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, step)

    def _transaction(self, step: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._connection is None:
            # Only once its tables are there: after an error the next step sets it up again.
            self._connection = self._opened()
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

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.executescript(SCHEMA)
            upgrade(connection)
        except BaseException:
            connection.close()
            raise
        return connection

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


def _collect_due(db: sqlite3.Connection, change: Change, longest_wait: float) -> float | None:
    latest = (wall_clock.seconds() + longest_wait,)
    db.execute("UPDATE intents SET due = ?1 WHERE status = 'processing' AND due > ?1", latest)
    due = "SELECT * FROM intents WHERE status = 'processing' AND due <= ? ORDER BY due"
    for row in db.execute(due, (wall_clock.seconds(),)).fetchall():
        _change(db, _intent(row), change)
    moment: float | None = db.execute("SELECT min(due) FROM intents WHERE status = 'processing'").fetchone()[0]
    return moment


def _undelivered(
    db: sqlite3.Connection, limit: int, besides: Collection[str], longest_wait: float
) -> tuple[list[PendingEvent], float | None]:
    others = "FROM events WHERE delivered IS NULL AND id NOT IN (SELECT value FROM json_each(?))"
    excluded = json.dumps(list(besides))
    latest = (wall_clock.seconds() + longest_wait,)
    db.execute("UPDATE events SET next_attempt = ?1 WHERE delivered IS NULL AND next_attempt > ?1", latest)
    due = f"SELECT * {others} AND next_attempt <= ? ORDER BY next_attempt LIMIT ?"
    events = [_event(row) for row in db.execute(due, (excluded, wall_clock.seconds(), limit))]
    known = json.dumps([*besides, *(event.id for event in events)])
    return events, db.execute(f"SELECT min(next_attempt) {others}", (known,)).fetchone()[0]


def _page(
    db: sqlite3.Connection, table: str, after: str, limit: int, *, condition: str = "true", order_id: str | None = None
) -> list[sqlite3.Row]:
    """A list's rows behind the one with the id `after`, or its first. Raises `Refused` for an unknown id."""
    place = db.execute(f"SELECT rowid FROM {table} WHERE id = ?", (after,)).fetchone() if after else (0,)  # noqa: S608  # nosec B608 # names of ours
    if place is None:
        raise domain.unknown_place(after)
    of_order, values = ("true", ()) if order_id is None else ("order_id = ?", (order_id,))
    query = f"SELECT * FROM {table} WHERE rowid > ? AND {condition} AND {of_order} ORDER BY rowid LIMIT ?"  # noqa: S608  # nosec B608 # names of ours
    return db.execute(query, (place[0], *values, limit)).fetchall()


def _get(db: sqlite3.Connection, intent_id: str) -> PaymentIntent:
    row = db.execute("SELECT * FROM intents WHERE id = ?", (intent_id,)).fetchone()
    if row is None:
        raise unknown(intent_id)
    return _intent(row)


def _closed(db: sqlite3.Connection, order_id: str) -> bool:
    return db.execute("SELECT 1 FROM closed_orders WHERE order_id = ?", (order_id,)).fetchone() is not None


def _once(db: sqlite3.Connection, key: str, fingerprint: str, act: Transaction) -> Answer:
    """The answer that was kept for an idempotency key, or that of `act`, which is kept."""
    row = db.execute("SELECT * FROM answers WHERE idempotency_key = ?", (key,)).fetchone() if key else None
    if row:
        if row["fingerprint"] != fingerprint:
            raise key_reused()
        return Answer(row["status"], json.loads(row["body"]))
    answer = act(db)
    if key:
        record = (key, fingerprint, answer.status, json.dumps(answer.body))
        db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", record)
    return answer


def _change(db: sqlite3.Connection, before: PaymentIntent, change: Change) -> PaymentIntent:
    after = change(before)
    _write(db, before, after)
    return after


def _write(db: sqlite3.Connection, before: PaymentIntent, after: PaymentIntent) -> None:
    """Write an intent's new state, and the event of the change."""
    db.execute("UPDATE intents SET status = ?, refunded = ? WHERE id = ?", (after.status, after.refunded, after.id))
    event_type = event_for(before, after)
    if event_type:
        shown = domain.charge_as_json(after) if event_type == "charge.refunded" else as_json(after)
        now = wall_clock.seconds()
        event = (f"evt_{uuid.uuid4().hex}", event_type, json.dumps(shown), now, after.traceparent, 0, now)
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", event)


def _row(intent: PaymentIntent) -> tuple[object, ...]:
    moments = (intent.created, intent.due)
    paid = (intent.id, intent.amount, intent.currency, intent.order_id, intent.status)
    return (*paid, *moments, intent.traceparent, intent.refunded)


def _intent(row: sqlite3.Row) -> PaymentIntent:
    return PaymentIntent(**{**dict(row), "status": Status(row["status"])})


def _event(row: sqlite3.Row) -> PendingEvent:
    named = {name: row[name] for name in ("id", "type", "created", "traceparent", "attempts")}
    return PendingEvent(**named, object=json.loads(row["object"]))
