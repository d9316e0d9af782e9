"""Output of commands: one form of time, and lines that fit the terminal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from shutil import get_terminal_size


def moment(at: datetime | str) -> str:
    """A moment in UTC, to the second: `2026-03-01T10:00:00Z`. A text is RFC 3339; one that is none stays as it is."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return str(at)
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def fitted(line: str) -> str:
    """The line, cut to the terminal's width where a person looks; a pipe gets all of it."""
    if not sys.stdout.isatty():
        return line
    width = get_terminal_size().columns
    return line if len(line) <= width else f"{line[: width - 1]}…"
