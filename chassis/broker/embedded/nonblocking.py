"""Fast path: operations on the SQLite file that do not block, in the event loop's own thread.

Handing a query to the writer's thread and back costs several times what a look, a claim or an acknowledgement does:
none of them waits for the disk. What would have to wait (another process writes), and whatever fails, is left to the
writer, which waits and raises the port's errors.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]


class LeftToWriter(Exception):
    """Nothing was done: it would have had to wait, or has failed."""


class NonBlocking:
    """A connection of its own to the file, opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)

    def read(self, query: Query[T]) -> T:
        """Raises `LeftToWriter`, and what `query` raises."""
        try:
            return query(self._current())
        except (sqlite3.Error, OSError) as error:
            raise LeftToWriter from error

    def write(self, query: Query[T]) -> T:
        """A transaction that survives the process, not the machine. Raises `LeftToWriter`, and what `query` raises."""
        try:
            connection = self._current()
            connection.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, OSError) as error:
            raise LeftToWriter from error
        try:
            outcome = query(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                self.close()  # which undoes it, even where a ROLLBACK would fail
            if isinstance(error, sqlite3.Error):
                raise LeftToWriter from error
            raise
        return outcome

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _current(self) -> sqlite3.Connection:
        """A connection to the file that is there now. Raises `FileNotFoundError`: the writer makes it anew."""
        found = os.stat(self._path)  # noqa: PTH116 - on each look, and Path's takes twice as long
        if self._connection is None or self._file != (found.st_dev, found.st_ino):
            self.close()
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA synchronous = NORMAL")
            # Moving the log into the file waits for the disk: the writer does that.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            self._connection, self._file = connection, (found.st_dev, found.st_ino)
        return self._connection
