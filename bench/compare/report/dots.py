"""A dot a round with the median and its interval, on a logarithmic scale: never bars of means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare.report.figures import Measured, digits
from bench.compare.report.svg import Picture

_LEFT, _RIGHT, _ROW, _TOP, _WIDTH = 210, 130, 30, 64, 860
# Decades in which 2 and 5 have room for their labels, too.
_LABELLED = 3


@dataclass(frozen=True, slots=True)
class Dots:
    """A row of the picture. Rows of different groups stand apart: they are not to be ranked."""

    title: str
    measured: Measured
    group: str = ""


def draw_dots(title: str, rows: Sequence[Dots], unit: str) -> str:
    """The SVG."""
    values = [value for row in rows for value in (*row.measured.values, row.measured.low, row.measured.high)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    groups = list(dict.fromkeys(row.group for row in rows))
    named = [group for group in groups if group]
    height = _TOP + len(rows) * _ROW + len(named) * 26 + 36
    said = "; ".join(f"{row.title} {row.measured} {unit}" for row in rows)
    picture = Picture(_WIDTH, height, title, f"Median and 95 % interval over rounds. {said}.")
    picture.text(16, 26, title, size="big")
    picture.text(16, 46, "pale: each round; dark: their median and its 95 % interval", colour="quiet")

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    for value in (factor * 10.0**power for power in range(low, high + 1) for factor in (1, 2, 5)):
        if value <= 10.0**high:
            picture.line(x(value), _TOP, x(value), height - 30)
            if high - low <= _LABELLED or value in (10.0**power for power in range(low, high + 1)):
                picture.text(x(value), height - 12, f"{value:g}", colour="quiet", anchor="middle", size="small")
    y = float(_TOP)
    for group in groups:
        if group:
            picture.text(16, y + 18, group, colour="quiet")
            y += 26
        for row in (each for each in rows if each.group == group):
            _row(picture, row, y + _ROW / 2, x)
            y += _ROW
    return picture.svg()


def _row(picture: Picture, row: Dots, y: float, x: object) -> None:
    assert callable(x)
    found = row.measured
    picture.text(_LEFT - 12, y + 4, row.title, anchor="end")
    for value in found.values:
        picture.dot(x(value), y, "a", faint=True)
    picture.line(x(found.low), y, x(found.high), y, "ink", 2)
    picture.dot(x(found.median), y, "ink", 4.5)
    label = f"{digits(found.median)} ({digits(found.low)}-{digits(found.high)})"
    picture.text(_WIDTH - _RIGHT + 10, y + 4, label, size="small")
