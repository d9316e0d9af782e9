"""E2's table and picture: percentiles from the intended start at a common rate and at shares of each one's capacity."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.experiments.e2_rate import COMMON_RATE, RATE_TITLES, SHOP_COMMON_RATE
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import column, digits, group_title, measured, percentile, table_of, variants

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
    common = [rows_of(rows, "E2", variant=name, rate_name="common") for name in names]
    pooled = [rows_of(every, "E2", level=level, kind="all rounds", variant=name, rate_name="common") for name in names]
    columns = [["ms from the intended start", *(RATE_TITLES[name] for name in names)]]
    columns.append(["capacity, calls/s", *(_capacity(own[0]) for own in common)])
    columns += [
        column(f"p50 at {_RATES[level]:g}/s", "p50", [_percentile(own, "p50") for own in common]),
        *(column(each, each, [_percentile(own, each) for own in common]) for each in ("p90", "p99")),
        column("p99.9, all rounds", "p99.9", [_percentile(own, "p99.9") for own in pooled]),
    ]
    for share in ("20%", "50%", "80%"):
        own = [_percentile(rows_of(rows, "E2", variant=name, rate_name=share), "p99") for name in names]
        columns.append(column(f"p99 at {share[:-1]} % of its own", "p99", own))
    everything = [rows_of(rows, "E2", variant=name) for name in names]
    columns.append(["failed", *(str(sum(row["failed"] for row in own)) for own in everything)])
    columns.append(["most CPU of its client, of one core", *map(client_cpu, everything)])
    return table_of(columns)


def _capacity(row: Row) -> str:
    return "-" if row["capacity"] is None else digits(row["capacity"])


def client_cpu(rows: Sequence[Row]) -> str:
    """The most of its core that a client used in a round; "-" for runs without the duration of their rounds."""
    if any("elapsed_s" not in row for row in rows):
        return "-"
    busy = max(row["client_cpu_share"] for row in rows)
    return f"{busy:.0%}" + (" (its client is the bottleneck)" if busy > _BUSY else "")


def _percentile(rows: Sequence[Row], name: str) -> tuple[str, str]:
    """The kind of the cell, and the median over rounds; a percentile that failures reach has no value."""
    if not rows:
        return "", "-"
    found = [percentile(row, name, row["n"]) for row in rows]
    values = [value for _, value in found if value is not None]
    if len(values) < len(found):
        return found[0][0], "failed"
    return found[0][0], str(measured(values)) if len(values) > 1 else digits(values[0])


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    return {
        "e2-rate.svg" if level == "bare" else "e2-rate-shop.svg": _picture(rows, level)
        for level in _RATES
        if _names(rows, level)
    }


def _picture(rows: Sequence[Row], level: str) -> str:
    lines, what = [], "p99"
    for name in _names(rows, level):
        common = rows_of(rows, "E2", level=level, kind="rate", variant=name, rate_name="common")
        found = [percentile(row, "p99", row["n"]) for row in common]
        values = [value for _, value in found if value is not None]
        what = found[0][0]
        if len(values) == len(found):
            group = str(common[0].get("group", ""))
            lines.append(Dots(RATE_TITLES[name].partition(" (a ")[0], measured(values), group))
    title = f"{what} at {_RATES[level]:g} calls a second, {level}, from the intended start, ms"
    return draw_dots(title, lines, "ms")
