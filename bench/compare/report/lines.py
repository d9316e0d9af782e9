"""Lines over a logarithmic plane: where one way becomes cheaper than another, they cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare.report.figures import digits
from bench.compare.report.svg import LINES, Picture

_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 70, 300, 64, 44, 860, 420


@dataclass(frozen=True, slots=True)
class Line:
    """A variant's points: pairs of x and y, both above 0."""

    title: str
    points: list[tuple[float, float]]


def draw_lines(title: str, lines: Sequence[Line], x_name: str, y_name: str) -> str:
    """The SVG; both axes are logarithmic."""
    said = "; ".join(f"{line.title}: " + ", ".join(f"{y:,.6g} at {x:g}" for x, y in line.points) for line in lines)
    picture = Picture(_WIDTH, _HEIGHT, title, f"{y_name} over {x_name}. {said}.")
    picture.text(16, 26, title, size="big")
    xs = sorted({x for line in lines for x, _ in line.points})
    ys = [y for line in lines for _, y in line.points]
    low, high = math.log10(min(ys)) - 0.1, math.log10(max(ys)) + 0.1

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - math.log10(xs[0])) / (math.log10(xs[-1]) - math.log10(xs[0]) or 1)
        up = (math.log10(y) - low) / (high - low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    picture.text(16, 46, y_name, colour="quiet")
    for power in range(math.ceil(low), math.floor(high) + 1):
        _, y = at(xs[0], 10.0**power)
        picture.line(_LEFT, y, _WIDTH - _RIGHT, y)
        picture.text(_LEFT - 8, y + 4, f"{10.0**power:,g}", colour="quiet", anchor="end", size="small")
    for value in xs:
        x, _ = at(value, ys[0])
        picture.text(x, _HEIGHT - _BOTTOM + 20, f"{value:g}", colour="quiet", anchor="middle", size="small")
    picture.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_name, colour="quiet", anchor="middle")
    for colour, line in zip(LINES, lines, strict=False):
        picture.path([at(*point) for point in line.points], colour)
        for point in line.points:
            picture.dot(*at(*point), colour)
    _labels(picture, [(at(*line.points[-1])[1], colour, line) for colour, line in zip(LINES, lines, strict=False)])
    return picture.svg()


def _labels(picture: Picture, ends: list[tuple[float, str, Line]]) -> None:
    """Beside the lines' ends, moved apart where they would cover each other."""
    y = 0.0
    for end, colour, line in sorted(ends, key=lambda each: each[0]):
        y = max(y + 16, end + 4)
        picture.text(
            _WIDTH - _RIGHT + 12, y, f"{line.title}: {digits(line.points[-1][1])}", colour=colour, size="small"
        )
