"""A temporary database of the records read, by order, in bounded memory."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from shop.audit.records import (
    Letter,
    Mail,
    Message,
    Order,
    Payment,
    PaymentEvent,
    Refund,
    Reservation,
    SalesOrder,
    Stock,
    Traces,
    Webhook,
)

Record = Reservation | SalesOrder | Payment | Refund | PaymentEvent | Webhook | Mail | Letter | Message

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -8000;
CREATE TABLE orders (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE traces (subject TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE webhooks (id TEXT PRIMARY KEY, order_id TEXT NOT NULL);
CREATE TABLE emails (user_id TEXT PRIMARY KEY, email TEXT NOT NULL);
CREATE TABLE stock (content BLOB NOT NULL);
"""


class Spool:
    """Records by the order that they are about. Reads and writes block for less than a millisecond each."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")

    def add_order(self, order: Order) -> None:
        """An order of the orders service."""
        self._db.execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", (order.id, order.user_id, _packed(order)))

    def add(self, subject: str, record: Record) -> None:
        """A record about an order, or about a webhook that may be about one."""
        if isinstance(record, Webhook):
            self._db.execute("INSERT OR IGNORE INTO webhooks VALUES (?, ?)", (record.id, record.order_id or record.id))
        self._db.execute("INSERT INTO traces VALUES (?, ?)", (subject, _packed(record)))

    def add_email(self, user_id: str, email: str) -> None:
        """A customer's mail address."""
        self._db.execute("INSERT OR REPLACE INTO emails VALUES (?, ?)", (user_id, email))

    def add_stock(self, stock: Stock) -> None:
        """A product's figures."""
        self._db.execute("INSERT INTO stock VALUES (?)", (_packed(stock),))

    def complete(self) -> None:
        """All has been read: what is known of a webhook belongs to its order."""
        self._db.execute("CREATE INDEX traces_by_subject ON traces (subject)")
        self._db.execute(
            "UPDATE traces SET subject = (SELECT order_id FROM webhooks WHERE id = traces.subject)"
            " WHERE subject IN (SELECT id FROM webhooks)"
        )

    def customers(self) -> Iterator[str]:
        """The id of every customer who has an order."""
        for (user_id,) in self._db.execute("SELECT DISTINCT user_id FROM orders"):
            yield user_id

    def orders(self) -> Iterator[tuple[Order, Traces]]:
        """Every order, in the order in which they were placed, with everything about it."""
        query = "SELECT o.id, o.content, e.email FROM orders o LEFT JOIN emails e USING (user_id) ORDER BY o.rowid"
        for order_id, content, email in self._db.execute(query):
            yield pickle.loads(content), self._traces(order_id, email)  # noqa: S301  # nosec B301 # ours, from a moment ago

    def strangers(self) -> Iterator[tuple[str, Traces]]:
        """Every subject that is no order, with everything about it."""
        query = "SELECT DISTINCT subject FROM traces WHERE subject NOT IN (SELECT id FROM orders) ORDER BY subject"
        for (subject,) in self._db.execute(query):
            yield subject, self._traces(subject, None)

    def stock(self) -> Iterator[Stock]:
        """Every product's figures."""
        for (content,) in self._db.execute("SELECT content FROM stock ORDER BY rowid"):
            yield pickle.loads(content)  # noqa: S301  # nosec B301 # as above

    def _traces(self, subject: str, email: str | None) -> Traces:
        traces = Traces(email=email)
        places: dict[type[Record], list[Any]] = {
            Reservation: traces.reservations,
            SalesOrder: traces.sales_orders,
            Payment: traces.payments,
            Refund: traces.refunds,
            PaymentEvent: traces.payment_events,
            Webhook: traces.webhooks,
            Mail: traces.mails,
            Letter: traces.letters,
            Message: traces.messages,
        }
        for (content,) in self._db.execute("SELECT content FROM traces WHERE subject = ? ORDER BY rowid", (subject,)):
            record = pickle.loads(content)  # noqa: S301  # nosec B301 # as above
            places[type(record)].append(record)
        return traces


@contextmanager
def spooling() -> Iterator[Spool]:
    """A spool that is gone at the end. SQLite keeps it in memory while it is small, else in a temporary file."""
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        yield Spool(connection)


def _packed(record: object) -> bytes:
    return pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
