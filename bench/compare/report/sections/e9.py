"""E9's table: counts, and no "low, medium, high"."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.experiments.e9_people import LANGUAGES, PEOPLE
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import table


def tables(rows: Sequence[Row]) -> dict[str, str]:
    found = rows_of(rows, "E9")
    if not found:
        return {}
    body = []
    for row in found:
        title, tool, browser = PEOPLE[row["variant"]]
        counts = ["-" if row["lines"][each] is None else row["lines"][each] for each in LANGUAGES.values()]
        body.append([title, *counts, tool, browser])
    return {
        "e9": table(
            ["lines of the smallest client", *LANGUAGES.values(), "tool to read a message", "in a browser"], body
        )
    }


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """No pictures: the table is enough."""
    del rows
    return {}
