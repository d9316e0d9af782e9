"""The cost of the embedded broker's queries does not grow with its file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from chassis.broker.embedded import store


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        store.prepare(opened)
        yield opened


def _steps(connection: sqlite3.Connection) -> int:
    """How many steps of SQLite's machine it takes to ask where the log begins and ends."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    connection.set_progress_handler(count, 1)
    store.bounds(connection)
    connection.set_progress_handler(None, 0)
    return taken


def test_the_ends_of_a_long_log_are_found_as_fast_as_those_of_a_short_one(connection: sqlite3.Connection) -> None:
    """Every reader reads the log's ends whenever it has read all: that must not read the log."""
    store.publish(connection, [store.Routed({}, b"", ())], 0)
    short = _steps(connection)
    store.publish(connection, [store.Routed({}, b"", ())] * 1_000, 0)
    assert store.bounds(connection) == (1, 1_001)
    assert _steps(connection) == short
