"""E2's table and picture: percentiles from the intended start at a common rate and at shares of each one's capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.compare.experiments.e2_rate import COMMON_RATE, RATE_TITLES
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import digits, measured, over_rounds, table, variants

_BUSY = 0.8


def tables(rows: Sequence[Row]) -> dict[str, str]:
    names = [name for name in RATE_TITLES if name in variants(rows, "E2")]
    if not names:
        return {}
    body = []
    for name in names:
        common = rows_of(rows, "E2", variant=name, rate_name="common")
        capacity = common[0]["capacity"]
        cells = [_percentile(common, each) for each in ("p50_ms", "p90_ms", "p99_ms", "p99.9_ms")]
        own = [
            _percentile(rows_of(rows, "E2", variant=name, rate_name=share), "p99_ms") for share in ("20%", "50%", "80%")
        ]
        everything = rows_of(rows, "E2", variant=name)
        lost = sum(row["failed"] for row in everything)
        busy = max(row["client_cpu_share"] for row in everything)
        note = f"{busy:.0%}" + (" (its client is the bottleneck)" if busy > _BUSY else "")
        body.append([RATE_TITLES[name], "-" if capacity is None else digits(capacity), *cells, *own, lost, note])
    head = ["ms from the intended start", "capacity, calls/s", f"p50 at {COMMON_RATE:g}/s", "p90", "p99", "p99.9"]
    tail = ["p99 at 20 % of its own", "at 50 %", "at 80 %", "failed", "most CPU of its client, of one core"]
    return {"e2": table([*head, *tail], body)}


def _percentile(rows: Sequence[Row], name: str) -> str:
    """The median over rounds; a percentile that failures reach has no value."""
    if not rows:
        return "-"
    values = [math.inf if row[name] is None else row[name] for row in rows]
    if math.inf in values:
        return "failed"
    return str(measured(values))


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    names = [name for name in RATE_TITLES if name in variants(rows, "E2")]
    if not names:
        return {}
    lines = []
    for name in names:
        common = rows_of(rows, "E2", variant=name, rate_name="common")
        if all(row["p99_ms"] is not None for row in common):
            lines.append(Dots(RATE_TITLES[name].partition(" (a ")[0], over_rounds(common, "p99_ms")))
    return {
        "e2-rate.svg": draw_dots(f"p99 at {COMMON_RATE:g} calls a second, from the intended start, ms", lines, "ms")
    }
