"""E4's table and pictures: what rows cost in bytes, requests, reads and time, and where the lines cross."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.experiments.e4_shape import SHAPE_TITLES
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import over_rounds, table, variants
from bench.compare.report.lines import Line, draw_lines


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """Bytes for 2 and 8 fields, and requests, reads and time for 2."""
    return {"e4" if level == "bare" else "e4-shop": _table(rows, level) for level in _levels(rows)}


def _levels(rows: Sequence[Row]) -> list[str]:
    return [level for level in ("bare", "shop") if variants(rows, "E4", level=level)]


def _table(rows: Sequence[Row], level: str) -> str:
    body = []
    for name in variants(rows, "E4", level=level):
        few, all_ = (_by_rows(rows, name, fields) for fields in (2, 8))
        times = [
            over_rounds(rows_of(rows, "E4", kind="time", variant=name, rows=count), "p50_ms") for count in (1, 100)
        ]
        cells = [f"{_sum(each[count]):,}" for each in (few, all_) for count in (1, 10, 100)]
        reads = [few[100]["reads"]] if level == "bare" else []
        body.append([SHAPE_TITLES[name], *cells, few[100]["requests"], *reads, *times])
    head = ["bytes up and down for", "1 row, 2 fields", "10 rows", "100 rows", "1 row, 8 fields", "10 rows", "100 rows"]
    counted = ["table reads for 100"] if level == "bare" else []
    return table([*head, "requests for 100", *counted, "ms for 1", "ms for 100"], body)


def _by_rows(rows: Sequence[Row], name: str, fields: int) -> dict[int, Row]:
    return {row["rows"]: row for row in rows_of(rows, "E4", kind="bytes", variant=name, fields=fields)}


def _sum(row: Row) -> int:
    return int(row["up"]) + int(row["down"])


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """Bytes and milliseconds over rows, for two fields of each."""
    found: dict[str, str] = {}
    for level in _levels(rows):
        found |= _pictures(rows, level)
    return found


def _pictures(rows: Sequence[Row], level: str) -> dict[str, str]:
    bytes_lines, time_lines = [], []
    for name in variants(rows, "E4", level=level):
        found = _by_rows(rows, name, 2)
        bytes_lines.append(Line(SHAPE_TITLES[name], [(count, _sum(row)) for count, row in sorted(found.items())]))
        times = [(count, rows_of(rows, "E4", kind="time", variant=name, rows=count)) for count in sorted(found)]
        time_lines.append(
            Line(SHAPE_TITLES[name], [(count, over_rounds(own, "p50_ms").median) for count, own in times])
        )
    end = "" if level == "bare" else "-shop"
    said = f"Two fields of each row, {level}"
    return {
        f"e4-bytes{end}.svg": draw_lines(f"{said}: bytes at the socket", bytes_lines, "rows", "bytes, up and down"),
        f"e4-time{end}.svg": draw_lines(f"{said}: time on a warm connection", time_lines, "rows", "milliseconds"),
    }
