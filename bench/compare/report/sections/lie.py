"""The table of `--make-it-lie`: before and after."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import measured, table
from bench.compare.variants import TITLES

# Lie -> what is told, and why it is wrong.
LIES = {
    "closed loop": (
        "p99, ms, while the server stops once for 250 ms",
        "a stall delays one call, and hides those that were due",
    ),
    "new connection each": ("p50, ms", "it measures TCP, and the one that keeps its socket wins"),
    "one start for all": ("p50, ms, of 200 calls", "it measures the place in a queue"),
    "publishes counted as done": ("calls a second", "written is not answered"),
}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    body = []
    for lie, (what, why) in LIES.items():
        for name in dict.fromkeys(str(row["variant"]) for row in rows_of(rows, "lie", kind=lie)):
            own = rows_of(rows, "lie", kind=lie, variant=name)
            right, wrong = (measured([row[each] for row in own]) for each in ("right", "wrong"))
            body.append([lie, TITLES[name], what, right, wrong, f"x {wrong.median / right.median:.2g}", why])
    if not body:
        return {}
    return {
        "lie": table(["the mistake", "of", "what is told", "measured rightly", "wrongly", "", "why it is wrong"], body)
    }


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """No pictures: the table is enough."""
    del rows
    return {}
