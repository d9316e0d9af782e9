"""What the embedded broker does to its file in the event loop's own thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.broker.embedded.at_once import AtOnce, NotAtOnce


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _made(tmp_path / "broker.sqlite")


@pytest.fixture
def at_once(file: Path) -> Iterator[AtOnce]:
    found = AtOnce(file)
    yield found
    found.close()


def _made(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE kept (number INTEGER)")
    connection.commit()
    connection.close()
    return path


def _add(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO kept VALUES (1)")


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM kept").fetchone()[0])


def test_it_waits_for_no_other_process(file: Path, at_once: AtOnce) -> None:
    """While another process writes, a write is refused and a read is answered; afterwards both are done."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotAtOnce):
        at_once.write(_add)
    assert at_once.read(_count) == 0
    other.execute("ROLLBACK")
    other.close()
    at_once.write(_add)
    assert at_once.read(_count) == 1


@pytest.mark.parametrize("error", [ValueError, sqlite3.OperationalError])
def test_what_fails_is_undone(at_once: AtOnce, error: type[Exception]) -> None:
    """Nothing stays of a write that raises: its own error is passed on, one of SQLite's is left to the writer."""

    def fail(connection: sqlite3.Connection) -> None:
        _add(connection)
        raise error

    with pytest.raises(NotAtOnce if error is sqlite3.OperationalError else error):
        at_once.write(fail)
    assert at_once.read(_count) == 0
    at_once.write(_add)
    assert at_once.read(_count) == 1


def test_it_reads_the_file_that_is_there(file: Path, at_once: AtOnce) -> None:
    """A file that was removed is left to the writer, which makes it anew; one that was replaced is read."""
    at_once.write(_add)
    file.rename(file.with_name("old"))
    with pytest.raises(NotAtOnce):
        at_once.read(_count)
    _made(file)
    assert at_once.read(_count) == 0
