"""E2's table and picture: percentiles from the intended start at a common rate and at shares of each one's capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.compare.experiments.e2_rate import COMMON_RATE, RATE_TITLES, SHOP_COMMON_RATE
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import digits, group_title, measured, over_rounds, table, variants

_BUSY = 0.8
_RATES = {"bare": COMMON_RATE, "shop": SHOP_COMMON_RATE}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    found = {"e2": _table(rows, "bare", _names(rows, "bare"))} if _names(rows, "bare") else {}
    return found | ({"e2-shop": _shop(rows)} if _names(rows, "shop") else {})


def _shop(rows: Sequence[Row]) -> str:
    """A table a group: what is cached does not stand beside what is not."""
    groups: dict[str, tuple[str, list[str]]] = {}
    alone = []
    for name in _names(rows, "shop"):
        row = rows_of(rows, "E2", level="shop", kind="rate", variant=name)[0]
        if "group" in row:
            groups.setdefault(row["group"], (group_title(row), []))[1].append(name)
        else:
            alone.append(name)
    return "\n".join(f"{title}\n\n{_table(rows, 'shop', [*alone, *names])}" for title, names in groups.values())


def _names(rows: Sequence[Row], level: str) -> list[str]:
    return [name for name in RATE_TITLES if name in variants(rows, "E2", level=level)]


def _table(every: Sequence[Row], level: str, names: Sequence[str]) -> str:
    rows = rows_of(every, "E2", level=level, kind="rate")
    body = []
    for name in names:
        common = rows_of(rows, "E2", variant=name, rate_name="common")
        capacity = common[0]["capacity"]
        cells = [_percentile(common, each) for each in ("p50_ms", "p90_ms", "p99_ms")]
        (pooled,) = rows_of(every, "E2", level=level, kind="all rounds", variant=name, rate_name="common")
        cells.append("failed" if pooled["p99.9_ms"] is None else digits(pooled["p99.9_ms"]))
        own = [
            _percentile(rows_of(rows, "E2", variant=name, rate_name=share), "p99_ms") for share in ("20%", "50%", "80%")
        ]
        everything = rows_of(rows, "E2", variant=name)
        lost = sum(row["failed"] for row in everything)
        busy = max(row["client_cpu_share"] for row in everything)
        note = f"{busy:.0%}" + (" (its client is the bottleneck)" if busy > _BUSY else "")
        body.append([RATE_TITLES[name], "-" if capacity is None else digits(capacity), *cells, *own, lost, note])
    head = ["ms from the intended start", "capacity, calls/s", f"p50 at {_RATES[level]:g}/s", "p90", "p99"]
    head.append("p99.9 of all rounds")
    tail = ["p99 at 20 % of its own", "at 50 %", "at 80 %", "failed", "most CPU of its client, of one core"]
    return table([*head, *tail], body)


def _percentile(rows: Sequence[Row], name: str) -> str:
    """The median over rounds; a percentile that failures reach has no value."""
    if not rows:
        return "-"
    values = [math.inf if row[name] is None else row[name] for row in rows]
    if math.inf in values:
        return "failed"
    return str(measured(values))


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    return {
        "e2-rate.svg" if level == "bare" else "e2-rate-shop.svg": _picture(rows, level)
        for level in _RATES
        if _names(rows, level)
    }


def _picture(rows: Sequence[Row], level: str) -> str:
    lines = []
    for name in _names(rows, level):
        common = rows_of(rows, "E2", level=level, kind="rate", variant=name, rate_name="common")
        if all(row["p99_ms"] is not None for row in common):
            group = str(common[0].get("group", ""))
            lines.append(Dots(RATE_TITLES[name].partition(" (a ")[0], over_rounds(common, "p99_ms"), group))
    title = f"p99 at {_RATES[level]:g} calls a second, {level}, from the intended start, ms"
    return draw_dots(title, lines, "ms")
