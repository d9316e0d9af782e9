"""SQLite's write-ahead log (https://www.sqlite.org/wal.html): readers and a writer do not wait for one another."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

_TIMEOUT = 5.0
_PAUSE = 0.001


def use_write_ahead_log(connection: Any) -> None:
    """Put the file of a driver's connection into WAL mode, for good. Raises `sqlite3.Error`.

    Several processes that open a new file at once all try to change its mode. One can; SQLite refuses the others at
    once, whatever their busy timeout, since two that wait for each other would wait for ever. So they try again, for
    at most 5 s.
    """
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
