"""The ERP's business: articles, sales orders, shipments and goods receipts in one SQLite file.

Every method is one transaction, durable once it has returned, and safe to call from several threads.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from legacy_soap import tables
from legacy_soap.documents import (
    CANCELLED,
    DELIVERED,
    IN_TRANSIT,
    OPEN,
    SHIPMENT_CREATED,
    SHIPPED,
    Line,
    Order,
    OrderRecord,
    Receipt,
    Refusal,
    Shipment,
    Stock,
)
from legacy_soap.formats import article_number, document_number

CREDIT_LIMIT_CENTS = 1_000_000

TIME_IN_TRANSIT = timedelta(days=2)


class Erp:
    """The ERP over its file; `stock` (AltRef -> pieces) fills an empty one."""

    def __init__(
        self, path: Path, stock: Mapping[str, int], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._now = now
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A number that has been given to a customer must survive a power cut.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self._transaction() as db:
            tables.prepare(db, stock)

    def close(self) -> None:
        """Close the file; later calls fail."""
        with self._lock:
            self._connection.close()

    def stock(self, articles: Sequence[tuple[str, str]]) -> list[Stock]:
        """Book stock of each (article number, cross-reference), in this order; unknown articles are marked."""
        with self._transaction() as db:
            return [tables.read_stock(db, number, alt_ref) for number, alt_ref in articles]

    def create_article(self, alt_ref: str, text: str) -> str:
        """The article number for a cross-reference; a new article begins without stock."""
        with self._transaction() as db:
            row = db.execute("SELECT no FROM article WHERE alt_ref = ?", (alt_ref,)).fetchone()
            return article_number(row[0] if row else tables.insert_article(db, alt_ref, text, 0))

    def create_order(
        self, cust_ref: str, cust_no: str, ordered_on: date, currency: str, lines: Sequence[Line]
    ) -> Order:
        """Take an order. A repeat of its reference answers the order that is there.

        Refuses with ERR-017, ERR-042, ERR-051, or ERR-053 for a repeat with other content.
        """
        with self._transaction() as db:
            known = tables.find_order(db, cust_ref)
            if known and known.status == CANCELLED:
                raise Refusal("ERR-051", "ORDER HAS BEEN CANCELLED", cust_ref)
            rows = [(tables.article_row(db, line), line.quantity, line.unit_cents) for line in lines]
            if known:
                if not tables.holds(db, int(known.number), cust_no, currency, rows):
                    raise Refusal("ERR-053", "REFERENCE IN USE FOR ANOTHER ORDER", cust_ref)
                return known
            if sum(line.quantity * line.unit_cents for line in lines) > CREDIT_LIMIT_CENTS:
                raise Refusal("ERR-017", "CREDIT LIMIT EXCEEDED")
            number = tables.insert_order(db, cust_ref, OPEN, ordered_on, cust_no=cust_no, currency=currency)
            tables.insert_lines(db, number, rows)
            return Order(document_number(number), cust_ref, OPEN)

    def cancel_order(self, cust_ref: str) -> Order:
        """Cancel an order for good. One that has not arrived yet is noted as cancelled, lest it arrive later.

        Refuses with ERR-052.
        """
        with self._transaction() as db:
            order = tables.find_order(db, cust_ref)
            if order is None:
                today = self._now().date()
                number = tables.insert_order(db, cust_ref, CANCELLED, today, cust_no="", currency="")
                return Order(document_number(number), cust_ref, CANCELLED)
            if order.status == SHIPPED:
                raise Refusal("ERR-052", "ORDER HAS BEEN SHIPPED", cust_ref)
            db.execute("UPDATE sales_order SET status = ? WHERE cust_ref = ?", (CANCELLED, cust_ref))
            return Order(order.number, cust_ref, CANCELLED)

    def create_shipment(self, cust_ref: str) -> Shipment:
        """Ship an order tomorrow and take its pieces off the stock. A repeat answers the shipment that is there.

        Refuses with ERR-044 or ERR-051.
        """
        with self._transaction() as db:
            order = tables.find_order(db, cust_ref)
            if order is None:
                raise Refusal("ERR-044", "ORDER UNKNOWN", cust_ref)
            if order.status == CANCELLED:
                raise Refusal("ERR-051", "ORDER HAS BEEN CANCELLED", cust_ref)
            if order.status == OPEN:
                tables.insert_shipment(db, int(order.number), self._now().date() + timedelta(days=1))
            return self._shipment(db, cust_ref)

    def shipment(self, cust_ref: str) -> Shipment:
        """The shipment of an order. Refuses with ERR-045."""
        with self._transaction() as db:
            return self._shipment(db, cust_ref)

    def post_receipt(self, cust_ref: str, line: Line, received_on: date) -> Receipt:
        """Book goods in, or out for a quantity below zero. A repeat of its reference answers the receipt that is there.

        Refuses with ERR-042, or ERR-053 for a repeat that says something else.
        """
        with self._transaction() as db:
            article = tables.article_row(db, line)
            alt_ref = tables.read_stock(db, line.article_no, line.alt_ref).alt_ref
            if tables.find_receipt(db, cust_ref) is None:
                tables.insert_receipt(db, cust_ref, received_on, article, line.quantity)
            receipt = tables.find_receipt(db, cust_ref)
            if receipt is None or (receipt.alt_ref, receipt.quantity) != (alt_ref, line.quantity):
                raise Refusal("ERR-053", "REFERENCE IN USE FOR ANOTHER RECEIPT", cust_ref)
            return receipt

    def orders(self, after: str, limit: int) -> list[OrderRecord]:
        """Up to `limit` whole orders with numbers above `after`, in the order of their numbers."""
        with self._transaction() as db:
            rows = db.execute(f"{tables.ORDERS} WHERE o.no > ? ORDER BY o.no LIMIT ?", (int(after), limit)).fetchall()
            return [tables.read_record(db, tables.read_order(row)) for row in rows]

    def _shipment(self, db: sqlite3.Connection, cust_ref: str) -> Shipment:
        row = db.execute(
            "SELECT s.no, s.ships_on FROM shipment s JOIN sales_order o ON o.no = s.order_no WHERE o.cust_ref = ?",
            (cust_ref,),
        ).fetchone()
        if row is None:
            raise Refusal("ERR-045", "NO SHIPMENT", cust_ref)
        ships_on = date.fromisoformat(row[1])
        return Shipment(document_number(row[0]), cust_ref, shipment_status(ships_on, self._now().date()), ships_on)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                # After an error, also the commit's own: left open, it would stand in the way of every later one. Some
                # errors, such as a full disk, have ended it already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def shipment_status(ships_on: date, today: date) -> str:
    """Status code of a shipment on a day: the lorry leaves on `ships_on` and takes two days."""
    if today < ships_on:
        return SHIPMENT_CREATED
    return IN_TRANSIT if today < ships_on + TIME_IN_TRANSIT else DELIVERED
