"""Transient database errors: the same request may succeed in a while.

All others are an error of the statement, so of our code: they stay what they are, and are answered as internal.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chassis.errors import ShopError, invalid

# PostgreSQL, appendix A: classes of SQLSTATE, and single ones of other classes.
_SQLSTATE_CLASSES = (
    "08",  # connection exception
    "28",  # invalid authorization: a password or a role that is being changed
    "53",  # insufficient resources: disk full, out of memory, too many connections
    "57",  # operator intervention: starting, stopping, recovering, cancelled
    "58",  # system error: of the server's disk, for instance
)
_SQLSTATES = frozenset(
    {
        "25P03",  # idle_in_transaction_session_timeout: this process stood still
        "25006",  # read_only_sql_transaction: a standby, or a primary that was demoted
        "3D000",  # invalid_catalog_name: the database is being created or restored
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55000",  # object_not_in_prerequisite_state: recovery is in progress
        "55006",  # object_in_use: the database is being copied
        "55P03",  # lock_not_available
    }
)

_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)

_CHARACTER_NOT_IN_REPERTOIRE = "22021"


def is_temporary(error: BaseException) -> bool:
    """Whether trying again makes sense after this error of SQLAlchemy, of a driver or of the operating system."""
    if isinstance(error, (OSError, PoolTimeout)):  # TimeoutError is an OSError
        return True
    if isinstance(error, sqlite3.Error):
        return _is_temporary_sqlite(error)
    if not isinstance(error, DBAPIError):
        return _is_temporary_sqlstate(getattr(error, "sqlstate", None))
    if isinstance(error.orig, sqlite3.Error):
        return _is_temporary_sqlite(error.orig)
    if error.connection_invalidated:
        return True
    if (sqlstate := getattr(error.orig, "sqlstate", None)) is not None:
        return _is_temporary_sqlstate(sqlstate)
    # What asyncpg raises without a call to the server: the connection is closed, or has lost its thread. A value that
    # cannot be sent (its DataError is a ValueError too) is a fault of the statement.
    cause = None if error.orig is None else error.orig.__cause__
    return isinstance(error, (InterfaceError, InternalError)) and not isinstance(cause, ValueError)


def refusal_of(error: BaseException) -> ShopError | None:
    """The error for a value of the caller's that PostgreSQL cannot store; None for all other errors."""
    if getattr(error, "sqlstate", "") == _CHARACTER_NOT_IN_REPERTOIRE:
        return invalid("text must not have the character U+0000")
    return None


def _is_temporary_sqlstate(sqlstate: str | None) -> bool:
    return sqlstate is not None and (sqlstate.startswith(_SQLSTATE_CLASSES) or sqlstate in _SQLSTATES)


def _is_temporary_sqlite(error: sqlite3.Error) -> bool:
    # An extended code has the primary one in its lower byte. The errors of Python's module itself have none.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _SQLITE_CODES
