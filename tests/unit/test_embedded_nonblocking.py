"""What the embedded broker does to its file in the event loop's own thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.broker.embedded.nonblocking import LeftToWriter, NonBlocking


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _made(tmp_path / "broker.sqlite")


@pytest.fixture
def nonblocking(file: Path) -> Iterator[NonBlocking]:
    found = NonBlocking(file)
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


def test_it_waits_for_no_other_process(file: Path, nonblocking: NonBlocking) -> None:
    """While another process writes, a write is refused and a read is answered; afterwards both are done."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LeftToWriter):
        nonblocking.write(_add)
    assert nonblocking.read(_count) == 0
    other.execute("ROLLBACK")
    other.close()
    nonblocking.write(_add)
    assert nonblocking.read(_count) == 1


@pytest.mark.parametrize("error", [ValueError, sqlite3.OperationalError])
def test_what_fails_is_undone(nonblocking: NonBlocking, error: type[Exception]) -> None:
    """Nothing stays of a write that raises: its own error is passed on, one of SQLite's is left to the writer."""

    def fail(connection: sqlite3.Connection) -> None:
        _add(connection)
        raise error

    with pytest.raises(LeftToWriter if error is sqlite3.OperationalError else error):
        nonblocking.write(fail)
    assert nonblocking.read(_count) == 0
    nonblocking.write(_add)
    assert nonblocking.read(_count) == 1


def test_it_reads_the_file_that_is_there(file: Path, nonblocking: NonBlocking) -> None:
    """A file that was removed is left to the writer, which makes it anew; one that was replaced is read."""
    nonblocking.write(_add)
    file.rename(file.with_name("old"))
    with pytest.raises(LeftToWriter):
        nonblocking.read(_count)
    _made(file)
    assert nonblocking.read(_count) == 0
