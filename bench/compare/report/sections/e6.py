"""E6's table: three groups, each with the same content."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.experiments.e6_bulk import TRANSFERS
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import Measured, measured, table, variants

_GROUPS = {"down": "content, down", "up": "content, up", "rows": "rows, down"}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    names = variants(rows, "E6")
    if not names:
        return {}
    parts = []
    for group, title in _GROUPS.items():
        body = []
        for transfer in (each for each in TRANSFERS if each.group == group):
            own = rows_of(rows, "E6", variant=transfer.name)
            cpu = [_of(own, lambda row, side=side: row[f"cpu_{side}"] * 1e3) for side in ("server", "client")]
            peak = [_of(own, lambda row, side=side: row[f"peak_{side}"] / (1 << 20)) for side in ("server", "client")]
            stopped = _of(own, lambda row: row["stopped_ms"]) if group == "down" else "-"
            body.append([transfer.title, _rate(own), *cpu, *peak, transfer.resumable, stopped])
        amount = rows_of(rows, "E6", group=group)[0]["amount"]
        unit = "thousand rows/s" if group == "rows" else "MB/s"
        size = f"{amount:,} rows" if group == "rows" else f"{amount >> 20} MiB"
        head = [
            f"{title}: {size}",
            unit,
            "server CPU, ms",
            "client CPU, ms",
            "server peak, MiB more",
            "client peak, MiB more",
        ]
        parts.append(table([*head, "resumable", "sender stops after a cancel, ms"], body))
    return {"e6": "\n".join(parts)}


def _of(rows: Sequence[Row], value: object) -> Measured:
    assert callable(value)
    return measured([value(row) for row in sorted(rows, key=lambda row: int(row["round"]))])


def _rate(rows: Sequence[Row]) -> Measured:
    unit = 1e3 if rows[0]["group"] == "rows" else 1e6
    return _of(rows, lambda row: row["amount"] / row["seconds"] / unit)


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    if not variants(rows, "E6"):
        return {}
    lines = [
        Dots(
            f"{each.title}",
            _of(rows_of(rows, "E6", variant=each.name), lambda row: row["seconds"] * 1e3),
            _GROUPS[each.group],
        )
        for each in TRANSFERS
    ]
    return {"e6-bulk.svg": draw_dots("Bulk: milliseconds for all of it, each round", lines, "ms")}
