"""Retries on SQLITE_BUSY, and WAL mode (https://www.sqlite.org/wal.html), whose change no busy timeout waits for.

Apart from `sqlite.py` because the embedded broker and the webhook intake use the driver alone, without SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
_PAUSE = 0.0005


def retry_while_busy(attempt: Callable[[], T], *, timeout: float = BUSY_TIMEOUT) -> T:
    """The result of `attempt`, made again while another connection holds the lock, for at most `timeout` seconds.

    SQLite's own wait backs off to 100 ms; a commit takes about one. Raises `sqlite3.Error`.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def use_write_ahead_log(connection: Any) -> None:
    """Put the file of a driver's connection into WAL mode, for good: readers and a writer do not wait for one another.

    Several processes that open a new file at once all try to change its mode. One can; SQLite refuses the others at
    once, whatever their busy timeout, since two that wait for each other would wait for ever. Raises `sqlite3.Error`.
    """
    retry_while_busy(lambda: connection.cursor().execute("PRAGMA journal_mode = WAL"))
