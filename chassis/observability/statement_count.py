"""Count of the statements sent to a database: a round trip each on PostgreSQL, but for those of many rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

OnStatements = Callable[[int], object]


def count_statements(engine: Engine, on_statements: OnStatements) -> None:
    """Call `on_statements` with the number of statements whenever SQLAlchemy sends some: one for each row.

    BEGIN is among them where we send it ourselves, COMMIT is not.
    """

    @event.listens_for(engine, "before_cursor_execute")
    def count(_connection: Any, _cursor: Any, _sql: str, parameters: Any, _context: Any, many: Any) -> None:
        on_statements(len(parameters) if many else 1)
