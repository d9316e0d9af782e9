"""Figures of a run's rows, for tables and pictures: medians over rounds, their intervals, and ratios within rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.measure.folder import Row, rows_of
from bench.compare.measure.statistics import enough, interval, ratios

LAYERS = ("set-up", "head", "identity", "framing", "control", "TLS", "body")


@dataclass(frozen=True, slots=True)
class Measured:
    """A quantity over rounds: each round's value, their median and its 95 % interval."""

    values: list[float]
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{digits(self.median)} ({digits(self.low)}-{digits(self.high)})"


def measured(values: Sequence[float]) -> Measured:
    """Median and interval of one value a round. Raises `ValueError` for no values."""
    return Measured(list(values), statistics.median(values), *interval(values))


def over_rounds(rows: Sequence[Row], name: str) -> Measured:
    """A quantity of these rows, in the order of their rounds."""
    return measured([row[name] for row in sorted(rows, key=lambda row: int(row["round"]))])


def ratio(rows: Sequence[Row], base: Sequence[Row], name: str) -> Measured:
    """The ratio to the base of the same round."""
    return measured(ratios(over_rounds(rows, name).values, over_rounds(base, name).values))


def percentile(row: Row, name: str, count: int) -> tuple[str, float | None]:
    """A percentile of a row of `count` calls: its name and milliseconds, or "max of N" where N calls have none.

    None: failures reach as far as that.
    """
    if enough(name, count):
        return name, row[f"{name}_ms"]
    # Rows of older runs have their maximum under the percentile's name.
    return f"max of {count:,}", row["max_ms"] if "max_ms" in row else row[f"{name}_ms"]


def column(head: str, name: str, cells: Sequence[tuple[str, str]]) -> list[str]:
    """A column's head and cells, of pairs of a cell's kind ("p99", "max of 50", or "": nothing) and its text.

    `name` in the head is what all say, else the percentile; then each cell that says something else says so.
    """
    said = {what for what, _ in cells if what}
    if len(said) == 1:
        return [head.replace(name, said.pop()), *(text for _, text in cells)]
    return [head, *(text if what in ("", name) else f"{what}: {text}" for what, text in cells)]


def variants(rows: Sequence[Row], experiment: str, **wanted: Any) -> list[str]:
    """The variants of these rows, in the order in which they were measured first."""
    return list(dict.fromkeys(str(row["variant"]) for row in rows_of(rows, experiment, **wanted)))


def group_title(row: Row) -> str:
    """A group of the shop's variants: its name, whose identity, and in what its rows differ beside their protocol."""
    differs = f" Differs: {row['differs']}." if row["differs"] else ""
    return f"**{row['group']}**. Identity: {row['identity']}.{differs}"


def digits(value: float) -> str:
    """Two significant digits, from 100 on whole, thousands with a comma: more would be more than is known."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    places = 0 if abs(value) >= 10 else 1 if abs(value) >= 1 else 2
    return f"{value:.{places}f}"


def rounded(value: float) -> str:
    """The same with three significant digits from 100 on: of what is calculated, not counted."""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else digits(value)


def table(head: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others stand right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in body]
    return "\n".join(lines) + "\n"


def table_of(columns: Sequence[Sequence[str]]) -> str:
    """The same of columns, each with its head first."""
    head, *body = zip(*columns, strict=True)
    return table(head, body)
