"""What the console's page asks before it shows an answer: a question, its rows, and a figure for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.compare.experiments.e3_distance import PAGE_TITLES
from bench.compare.experiments.e4_shape import SHAPE_TITLES
from bench.compare.experiments.e5_news import NEWS_TITLES
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import digits, over_rounds, variants
from bench.compare.report.sections import e3, e5
from bench.compare.report.sections.e1 import ALL_TITLES


def questions(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each question with `unit`, `where` (what the rows have in common) and rows of `title`, `value` and `shown`."""
    found = [
        _bytes(rows, 1, "Which protocol's first call moves the fewest bytes?"),
        _bytes(rows, 100, "And which one's hundredth?"),
        _times(rows),
        *_others(rows),
    ]
    return [each for each in found if each["rows"]]


def _question(asked: str, unit: str, where: str, figures: dict[str, float]) -> dict[str, Any]:
    shown = [{"title": title, "value": value, "shown": digits(value)} for title, value in figures.items()]
    return {"question": asked, "unit": unit, "where": where, "rows": shown}


def _bytes(rows: Sequence[Row], call: int, asked: str) -> dict[str, Any]:
    own = rows_of(rows, "E1", level="bare", kind="bytes", call=call)
    where = "One product of three fields, the same answer by its hash; no identity, no TLS, no compression."
    return _question(asked, "bytes", where, {ALL_TITLES[row["variant"]]: float(row["up"] + row["down"]) for row in own})


def _times(rows: Sequence[Row]) -> dict[str, Any]:
    figures = {
        ALL_TITLES[name]: over_rounds(rows_of(rows, "E1", level="bare", kind="alone", variant=name), "p50_ms").median
        for name in variants(rows, "E1", level="bare")
    }
    return _question(
        "Which one answers soonest, alone on the machine?", "ms", "The same call, warm; Python on both sides.", figures
    )


def _others(rows: Sequence[Row]) -> list[dict[str, Any]]:
    pages = {PAGE_TITLES[name]: e3.page(rows, name, 80, 0.0).median for name in variants(rows, "E3", level="bare")}
    lists = {
        SHAPE_TITLES[name]: float(row["up"] + row["down"])
        for name in variants(rows, "E4", level="bare")
        for row in rows_of(rows, "E4", kind="bytes", variant=name, rows=100, fields=2)
    }
    news = {NEWS_TITLES[name]: e5.hourly(rows, name, 60) for name in variants(rows, "E5", kind="one")}
    return [
        _question(
            "A page of seven products, 80 ms away: which is complete first?", "ms", "From no connection at all.", pages
        ),
        _question(
            "Two fields of 100 rows: who moves the fewest bytes?",
            "bytes",
            "REST and gRPC send all eight fields.",
            lists,
        ),
        _question(
            "An event a minute: what does a watcher move in an hour?",
            "bytes",
            "Calculated from measured polls and events.",
            news,
        ),
    ]
