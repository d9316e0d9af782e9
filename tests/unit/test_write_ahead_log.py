"""A new SQLite file that several processes open at the same moment."""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from chassis.broker.embedded import store
from chassis.database.sqlite import prepare_sqlite
from webhooks.incoming.intake import sqlite as intake

ROOT = Path(__file__).parents[2]
CONCURRENCY = 6
ROUNDS = 100
SHARED = {
    "broker": lambda path: _connected(path, store.prepare),
    "database": lambda path: _connected(path, prepare_sqlite),
    "intake": lambda path: intake._open(str(path)),
}


def _connected(path: Path, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    prepare(connection)
    return connection


@pytest.mark.parametrize("opened", SHARED.values(), ids=SHARED)
def test_a_new_file_is_opened_by_all_at_once(tmp_path: Path, opened: Callable[[Path], sqlite3.Connection]) -> None:
    """None of them is refused because another one is changing the file's mode."""
    together = Barrier(CONCURRENCY)

    def opens(number: int) -> str:
        together.wait(10)
        with closing(opened(tmp_path / f"{number}.sqlite")) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(CONCURRENCY) as threads:
        for number in range(ROUNDS):
            assert list(threads.map(opens, [number] * CONCURRENCY)) == ["wal"] * CONCURRENCY


def test_no_other_module_changes_the_mode_of_a_file() -> None:
    """Stand-ins for outside systems have a process, and so a file, each of their own."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("chassis", "gateway", "services", "webhooks", "shop", "console")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "journal_mode = wal" in node.value.lower()
    }
    assert found == {"chassis/database/sqlite_busy.py"}
