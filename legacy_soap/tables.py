"""The ERP's tables, and the statements that several of its operations share."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date

from legacy_soap.documents import ACTIVE, SHIPPED, UNKNOWN, Line, Order, OrderRecord, Receipt, Refusal, Stock
from legacy_soap.formats import article_number, document_number

# One entry for each version of the schema; `user_version` is the number of them that a file has seen.
VERSIONS = (
    """
CREATE TABLE article (
    no INTEGER PRIMARY KEY AUTOINCREMENT, alt_ref TEXT NOT NULL UNIQUE, text TEXT NOT NULL, on_hand INTEGER NOT NULL
);
CREATE TABLE sales_order (
    no INTEGER PRIMARY KEY AUTOINCREMENT, cust_ref TEXT NOT NULL UNIQUE, cust_no TEXT NOT NULL, status TEXT NOT NULL,
    ordered_on TEXT NOT NULL, currency TEXT NOT NULL
);
CREATE TABLE order_line (
    order_no INTEGER NOT NULL REFERENCES sales_order, pos INTEGER NOT NULL,
    article_no INTEGER NOT NULL REFERENCES article, quantity INTEGER NOT NULL, unit_cents INTEGER NOT NULL,
    PRIMARY KEY (order_no, pos)
);
CREATE TABLE shipment (
    no INTEGER PRIMARY KEY AUTOINCREMENT, ships_on TEXT NOT NULL,
    order_no INTEGER NOT NULL UNIQUE REFERENCES sales_order
);
""",
    """
CREATE TABLE goods_receipt (
    no INTEGER PRIMARY KEY AUTOINCREMENT, cust_ref TEXT NOT NULL UNIQUE, received_on TEXT NOT NULL,
    article_no INTEGER NOT NULL REFERENCES article, quantity INTEGER NOT NULL
);
""",
)
# Table -> why its rows are never deleted.
KEPT = {
    "article": "one row for each product",
    "sales_order": "the books, and a repeat of its CustRef is recognized after any time",
    "order_line": "part of its sales order",
    "shipment": "the books",
    "goods_receipt": "the books, and a repeat of its CustRef is recognized after any time",
}

ORDERS = (
    "SELECT o.no, o.cust_ref, o.status, (SELECT count(*) FROM shipment s WHERE s.order_no = o.no) FROM sales_order o"
)


def prepare(db: sqlite3.Connection, stock: Mapping[str, int]) -> None:
    """Bring the schema up to date; `stock` (AltRef -> pieces) fills a file that is new."""
    seen = int(db.execute("PRAGMA user_version").fetchone()[0])
    for version in VERSIONS[seen:]:
        for statement in version.strip().split(";\n"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(VERSIONS)}")
    if not seen:
        for alt_ref, pieces in stock.items():
            insert_article(db, alt_ref, "", pieces)


def read_order(row: tuple[int, str, str, int]) -> Order:
    """A row of `ORDERS`."""
    return Order(document_number(row[0]), row[1], row[2], row[3])


def read_record(db: sqlite3.Connection, order: Order) -> OrderRecord:
    """The whole of an order whose head has been read."""
    number = int(order.number)
    cust_no, currency = db.execute("SELECT cust_no, currency FROM sales_order WHERE no = ?", (number,)).fetchone()
    lines = db.execute(
        "SELECT l.quantity, l.unit_cents, a.no, a.alt_ref FROM order_line l JOIN article a ON a.no = l.article_no"
        " WHERE l.order_no = ? ORDER BY l.pos",
        (number,),
    ).fetchall()
    shipments = db.execute("SELECT no FROM shipment WHERE order_no = ? ORDER BY no", (number,)).fetchall()
    return OrderRecord(
        order,
        cust_no,
        currency,
        tuple(Line(quantity, cents, article_number(no), alt_ref) for quantity, cents, no, alt_ref in lines),
        tuple(document_number(no) for (no,) in shipments),
    )


def find_order(db: sqlite3.Connection, cust_ref: str) -> Order | None:
    """The order with the customer's reference."""
    row = db.execute(f"{ORDERS} WHERE o.cust_ref = ?", (cust_ref,)).fetchone()
    return read_order(row) if row else None


def insert_order(
    db: sqlite3.Connection, cust_ref: str, status: str, ordered_on: date, *, cust_no: str, currency: str
) -> int:
    """Returns the new order's number."""
    cursor = db.execute(
        "INSERT INTO sales_order (cust_ref, cust_no, status, ordered_on, currency) VALUES (?, ?, ?, ?, ?)",
        (cust_ref, cust_no, status, ordered_on.isoformat(), currency),
    )
    return int(cursor.lastrowid or 0)


def insert_lines(db: sqlite3.Connection, number: int, rows: Sequence[tuple[int, int, int]]) -> None:
    """Lines of an order (article number, quantity, cents of each), at the positions 10, 20, 30 and so on."""
    db.executemany(
        "INSERT INTO order_line VALUES (?, ?, ?, ?, ?)",
        [(number, 10 * position, *row) for position, row in enumerate(rows, 1)],
    )


def holds(
    db: sqlite3.Connection, number: int, cust_no: str, currency: str, rows: Sequence[tuple[int, int, int]]
) -> bool:
    """Whether an order is this customer's, in this currency, with these lines."""
    head = db.execute("SELECT cust_no, currency FROM sales_order WHERE no = ?", (number,)).fetchone()
    lines = db.execute(
        "SELECT article_no, quantity, unit_cents FROM order_line WHERE order_no = ? ORDER BY pos", (number,)
    ).fetchall()
    return bool(head == (cust_no, currency) and lines == list(rows))


def insert_shipment(db: sqlite3.Connection, number: int, ships_on: date) -> None:
    """Ship an order: it leaves the stock, and can no longer be cancelled."""
    db.execute("INSERT INTO shipment (order_no, ships_on) VALUES (?, ?)", (number, ships_on.isoformat()))
    db.execute("UPDATE sales_order SET status = ? WHERE no = ?", (SHIPPED, number))
    db.execute(
        "UPDATE article SET on_hand = on_hand -"
        " (SELECT sum(quantity) FROM order_line WHERE order_no = :order AND article_no = article.no)"
        " WHERE no IN (SELECT article_no FROM order_line WHERE order_no = :order)",
        {"order": number},
    )


def find_receipt(db: sqlite3.Connection, cust_ref: str) -> Receipt | None:
    """The goods receipt with the customer's reference."""
    row = db.execute(
        "SELECT r.no, r.cust_ref, a.alt_ref, r.quantity FROM goods_receipt r JOIN article a ON a.no = r.article_no"
        " WHERE r.cust_ref = ?",
        (cust_ref,),
    ).fetchone()
    return Receipt(document_number(row[0]), *row[1:]) if row else None


def insert_receipt(db: sqlite3.Connection, cust_ref: str, received_on: date, article: int, quantity: int) -> None:
    """Book goods in (or out, below zero)."""
    db.execute(
        "INSERT INTO goods_receipt (cust_ref, received_on, article_no, quantity) VALUES (?, ?, ?, ?)",
        (cust_ref, received_on.isoformat(), article, quantity),
    )
    db.execute("UPDATE article SET on_hand = on_hand + ? WHERE no = ?", (quantity, article))


def insert_article(db: sqlite3.Connection, alt_ref: str, text: str, on_hand: int) -> int:
    """Returns the new article's number."""
    cursor = db.execute("INSERT INTO article (alt_ref, text, on_hand) VALUES (?, ?, ?)", (alt_ref, text, on_hand))
    return int(cursor.lastrowid or 0)


def article_row(db: sqlite3.Connection, line: Line) -> int:
    """The number of the article that a line names. Refuses with ERR-042."""
    found = _find_article(db, line.article_no, line.alt_ref)
    if found is None:
        raise Refusal("ERR-042", "ARTICLE UNKNOWN", line.article_no or line.alt_ref)
    return found[0]


def read_stock(db: sqlite3.Connection, number: str, alt_ref: str) -> Stock:
    """Book stock of an article by its number or its cross-reference."""
    found = _find_article(db, number, alt_ref)
    if found is None:
        return Stock(number, alt_ref, 0, UNKNOWN)
    return Stock(article_number(found[0]), found[1], found[2], ACTIVE)


def _find_article(db: sqlite3.Connection, number: str, alt_ref: str) -> tuple[int, str, int] | None:
    if number:
        cursor = db.execute(
            "SELECT no, alt_ref, on_hand FROM article WHERE no = ?", (int(number.removeprefix("ART-")),)
        )
    else:
        cursor = db.execute("SELECT no, alt_ref, on_hand FROM article WHERE alt_ref = ?", (alt_ref,))
    row: tuple[int, str, int] | None = cursor.fetchone()
    return row
