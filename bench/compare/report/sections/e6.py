"""E6's tables: groups that each move the same content, on both levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.compare.experiments.e6_bulk import CANCELLED_PARTS, TRANSFERS, Transfer
from bench.compare.experiments.shop.bulk import SHOP_TRANSFERS, ShopTransfer
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import Measured, measured, table, variants

_GROUPS = {"down": "content, down", "up": "content, up", "rows": "rows, down"}
_LEVELS: dict[str, tuple[Transfer | ShopTransfer, ...]] = {"bare": TRANSFERS, "shop": SHOP_TRANSFERS}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    return {"e6" if level == "bare" else "e6-shop": _tables(rows, level) for level in _levels(rows)}


def _levels(rows: Sequence[Row]) -> list[str]:
    return [level for level in _LEVELS if variants(rows, "E6", level=level)]


def _tables(rows: Sequence[Row], level: str) -> str:
    groups = list(dict.fromkeys(each.group for each in _LEVELS[level]))
    return "\n".join(_table(rows, level, group) for group in groups)


def _table(rows: Sequence[Row], level: str, group: str) -> str:
    stops = level == "bare" and group == "down"
    body = []
    for transfer in (each for each in _LEVELS[level] if each.group == group):
        own = rows_of(rows, "E6", variant=transfer.name)
        cpu = [_of(own, lambda row: row["cpu_server"] * 1e3), _of(own, lambda row: row["cpu_client"] * 1e3)]
        peak = [_peak(own, f"growth_{side}") for side in ("server", "client")]
        stopped = [_stopped(own)] if stops else []
        body.append([transfer.title, _rate(own), *cpu, *peak, transfer.resumable, *stopped])
    amount = rows_of(rows, "E6", level=level, group=group)[0]["amount"]
    size = f"{amount:,} rows" if group == "rows" else f"{amount >> 20} MiB"
    whose = "server" if level == "bare" else "whole shop's"
    head = [
        f"{_GROUPS[group]}: {size}",
        "thousand rows/s" if group == "rows" else "MB/s",
        f"{whose} CPU, ms",
        "client CPU, ms",
        "server peak, MiB more" if level == "bare" else "peak of the process that grew most, MiB more",
        "client peak, MiB more",
        "resumable",
    ]
    return table([*head, *(["sender stops after a cancel, ms"] if stops else [])], body)


def _of(rows: Sequence[Row], value: Callable[[Row], float]) -> Measured:
    return measured([value(row) for row in sorted(rows, key=lambda row: int(row["round"]))])


def _peak(rows: Sequence[Row], name: str) -> Measured | str:
    """MiB; "-" where there is no peak that counts from the transfer on: not on Linux, or a row of an older run."""
    if any(name not in row for row in rows):
        return "-"
    return _of(rows, lambda row: row[name] / (1 << 20))


def _stopped(rows: Sequence[Row]) -> Measured | str:
    """Milliseconds; "-" for runs without the amount sent: a sender that runs out of content stops, too."""
    if any("cancelled_sent" not in row for row in rows):
        return "-"
    if any(row["cancelled_sent"] >= CANCELLED_PARTS * row["amount"] for row in rows):
        return "not before all was sent"
    return _of(rows, lambda row: row["stopped_ms"])


def _rate(rows: Sequence[Row]) -> Measured:
    unit = 1e3 if rows[0]["group"] == "rows" else 1e6
    return _of(rows, lambda row: row["amount"] / row["seconds"] / unit)


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    found = {}
    for level in _levels(rows):
        lines = [
            Dots(
                each.title,
                _of(rows_of(rows, "E6", variant=each.name), lambda row: row["seconds"] * 1e3),
                _GROUPS[each.group],
            )
            for each in _LEVELS[level]
        ]
        name = "e6-bulk.svg" if level == "bare" else "e6-bulk-shop.svg"
        found[name] = draw_dots(f"Bulk, {level}: milliseconds for all of it, each round", lines, "ms")
    return found
