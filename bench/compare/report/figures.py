"""What tables and pictures say of a run's rows: medians over rounds, their intervals, and ratios within rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.measure.folder import Row, rows_of
from bench.compare.measure.statistics import interval, ratios

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
    """Of one value a round. Raises `ValueError` for no values."""
    return Measured(list(values), statistics.median(values), *interval(values))


def over_rounds(rows: Sequence[Row], name: str) -> Measured:
    """This quantity of these rows, in the order of their rounds."""
    return measured([row[name] for row in sorted(rows, key=lambda row: int(row["round"]))])


def ratio(rows: Sequence[Row], base: Sequence[Row], name: str) -> Measured:
    """By the base of the same round."""
    return measured(ratios(over_rounds(rows, name).values, over_rounds(base, name).values))


def variants(rows: Sequence[Row], experiment: str, **wanted: Any) -> list[str]:
    """The variants of these rows, in the order in which they were measured first."""
    return list(dict.fromkeys(str(row["variant"]) for row in rows_of(rows, experiment, **wanted)))


def group_title(row: Row) -> str:
    """A group of the shop's variants: its name, whose identity, and in what its rows differ beside their protocol."""
    differs = f" Differs: {row['differs']}." if row["differs"] else ""
    return f"**{row['group']}**. Identity: {row['identity']}.{differs}"


def digits(value: float) -> str:
    """Two significant digits, three from 100 on, thousands with a comma: more would say more than is known."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    places = 0 if abs(value) >= 10 else 1 if abs(value) >= 1 else 2
    return f"{value:.{places}f}"


def table(head: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others stand right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in body]
    return "\n".join(lines) + "\n"
