"""The tables of the provider's file, and why their rows stay."""

from __future__ import annotations

import sqlite3

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS intents (
    id TEXT PRIMARY KEY, amount INTEGER NOT NULL, currency TEXT NOT NULL, order_id TEXT NOT NULL,
    status TEXT NOT NULL, created REAL NOT NULL, due REAL NOT NULL, traceparent TEXT NOT NULL,
    refunded INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, payment_intent TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    order_id TEXT NOT NULL, created REAL NOT NULL
);
-- Orders whose payments were cancelled: a request that was held up on its way must not be collected.
CREATE TABLE IF NOT EXISTS closed_orders (order_id TEXT PRIMARY KEY);
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
# Table -> why its rows are never deleted.
KEPT = {
    "intents": "the provider's books",
    "refunds": "the provider's books",
    "closed_orders": "a held-up request for payment may arrive after any time",
    "answers": "a request that comes again must not collect twice, after any time",
    "events": "the provider's books: the shop's audit compares them with what it received",
}


def upgrade(db: sqlite3.Connection) -> None:
    """Add what a file from before there were refunds does not have, whole or not at all."""
    columns = {row["name"] for row in db.execute("PRAGMA table_info(intents)")}
    if "refunded" in columns:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("ALTER TABLE intents ADD COLUMN refunded INTEGER NOT NULL DEFAULT 0")
        db.execute("UPDATE intents SET refunded = amount WHERE status = 'refunded'")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
