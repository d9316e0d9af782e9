"""E3's table, and the waterfall of the page at 80 ms."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.compare.experiments.e3_distance import NETWORKS, PAGE_TITLES
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import Measured, measured, table, variants
from bench.compare.report.svg import Picture, legend

_LEVELS = {"bare": "e3", "shop": "e3-shop"}
_STAGES = (("a", "first product"), ("c", "second"), ("d", "five more"))
_LEFT, _ROW, _TOP, _WIDTH = 230, 34, 76, 860


def tables(rows: Sequence[Row]) -> dict[str, str]:
    return {name: _table(rows, level) for level, name in _LEVELS.items() if variants(rows, "E3", level=level)}


def _table(rows: Sequence[Row], level: str) -> str:
    names = ordered(rows, level)
    head = ["ms until the page is complete", *(_network(*each) for each in NETWORKS)]
    body = [[PAGE_TITLES[name], *(page(rows, name, *each) for each in NETWORKS)] for name in names]
    return table(head, body)


def ordered(rows: Sequence[Row], level: str) -> list[str]:
    """The pages of a level, as tables show them."""
    return [name for name in PAGE_TITLES if name in variants(rows, "E3", level=level)]


def _network(milliseconds: int, loss: float) -> str:
    return f"{milliseconds} ms" + (f", {loss:.0%} lost" if loss else "")


def page(rows: Sequence[Row], name: str, milliseconds: int, loss: float) -> Measured:
    """The median of each round, over rounds."""
    own = rows_of(rows, "E3", variant=name, round_trip_ms=milliseconds, loss=loss)
    numbers = sorted({row["round"] for row in own})
    return measured([statistics.median(row["ms"] for row in own if row["round"] == number) for number in numbers])


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    return {
        "e3-waterfall.svg" if level == "bare" else "e3-waterfall-shop.svg": _picture(rows, level)
        for level in _LEVELS
        if variants(rows, "E3", level=level)
    }


def _picture(rows: Sequence[Row], level: str) -> str:
    names = ordered(rows, level)
    ends = {name: _median_ends(rows_of(rows, "E3", variant=name, round_trip_ms=80, loss=0.0)) for name in names}
    title = f"The page at 80 ms, {level}: what is waited for"
    said = "; ".join(f"{PAGE_TITLES[name]}: complete after {each[-1]:.0f} ms" for name, each in ends.items())
    picture = Picture(_WIDTH, _TOP + len(names) * _ROW + 40, title, f"From no connection to the last row. {said}.")
    picture.text(16, 26, title, size="big")
    legend(picture, 16, 50, [*_STAGES, ("f", "all seven at once")])
    scale = (_WIDTH - _LEFT - 80) / max(each[-1] for each in ends.values())
    for milliseconds in range(0, int(max(each[-1] for each in ends.values())) + 1, 80):
        x = _LEFT + milliseconds * scale
        picture.line(x, _TOP - 8, x, _TOP + len(names) * _ROW + 8)
        picture.text(x, _TOP + len(names) * _ROW + 26, str(milliseconds), colour="quiet", anchor="middle", size="small")
    for number, (name, own) in enumerate(ends.items()):
        y = float(_TOP + number * _ROW)
        picture.text(_LEFT - 12, y + 17, PAGE_TITLES[name], anchor="end")
        colours = [colour for colour, _ in _STAGES] if len(own) > 1 else ["f"]
        start = 0.0
        for colour, end in zip(colours, own, strict=True):
            picture.rect(_LEFT + start * scale, y + 4, max(1.0, (end - start) * scale - 1), _ROW - 14, colour)
            start = end
        picture.text(_LEFT + start * scale + 8, y + 18, f"{start:.0f} ms", colour="quiet", size="small")
    return picture.svg()


def _median_ends(rows: Sequence[Row]) -> list[float]:
    return [statistics.median(column) for column in zip(*(row["ends_ms"] for row in rows), strict=True)]
