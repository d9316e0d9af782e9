"""The fault that locks an embedded database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from shop.errors import Refused
from shop.fault.faults import connections
from shop.fault.faults.connections import FileLock


def test_a_lock_that_it_cannot_get_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not begin, and break nothing, while another fault holds the file."""
    monkeypatch.setattr(connections, "_LOCK_SECONDS", 0.05)
    file = tmp_path / "orders.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE kept (number INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Refused, match=r"orders\.sqlite cannot be locked"):
            FileLock(cast("Any", None), "database down orders", [file], slow=False).begin()
        other.execute("ROLLBACK")
        again = FileLock(cast("Any", None), "database down orders", [file], slow=False)
        assert "locked" in again.begin()
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            closing(sqlite3.connect(file, timeout=0)) as writer,
        ):
            writer.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(connections, "_SEEN_WITHIN", 0.0)
        again.end()
