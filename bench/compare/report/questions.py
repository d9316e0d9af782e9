"""The parts of the console's page before an answer: a question, its rows, and a figure for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.compare.experiments.e3_distance import PAGE_TITLES
from bench.compare.experiments.e4_shape import SHAPE_TITLES
from bench.compare.experiments.e5_news import NEWS_TITLES
from bench.compare.experiments.shop.news import SHOP_NEWS_TITLES
from bench.compare.measure.folder import Row, rows_of
from bench.compare.measure.layers import Layer
from bench.compare.report.figures import digits, measured, over_rounds, rounded, variants
from bench.compare.report.sections import e3, e5
from bench.compare.report.sections.e1 import ALL_TITLES
from bench.compare.variants import OVER_TLS

_SECURED = {variant.name for variant in OVER_TLS}
# A webhook calls who wants to know: it is not ranked beside ways of asking.
_CALLED = {"webhook", "shop-webhook"}


def questions(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each question with `unit`, `where` (what the rows have in common) and rows of `title`, `value` and `shown`."""
    found = [
        _bytes(rows, 1, "Which protocol's first call moves the fewest bytes?"),
        _bytes(rows, 100, "And which one's hundredth?"),
        _tls(rows),
        _times(rows),
        *_others(rows),
    ]
    return [each for each in found if each["rows"]]


def _question(
    question: str, unit: str, where: str, figures: dict[str, float], said: Callable[[float], str] = digits
) -> dict[str, Any]:
    shown = [{"title": title, "value": value, "shown": said(value)} for title, value in figures.items()]
    return {"question": question, "unit": unit, "where": where, "rows": shown}


def _bytes(rows: Sequence[Row], call: int, question: str) -> dict[str, Any]:
    own = [row for row in rows_of(rows, "E1", level="bare", kind="bytes", call=call) if row["variant"] not in _SECURED]
    where = "One product of three fields, the same answer by its hash; no identity, no TLS, no compression."
    return _question(
        question, "bytes", where, {ALL_TITLES[row["variant"]]: float(row["up"] + row["down"]) for row in own}
    )


def _tls(rows: Sequence[Row]) -> dict[str, Any]:
    own = [row for row in rows_of(rows, "E1", level="bare", kind="bytes", call=1) if row["variant"] in _SECURED]
    more = {
        ALL_TITLES[row["variant"]]: float(row["layers_up"][Layer.TLS] + row["layers_down"][Layer.TLS]) for row in own
    }
    return _question(
        "With TLS, whose first call grows least?",
        "bytes more",
        "TLS 1.3, a full handshake, the same certificate.",
        more,
    )


def _times(rows: Sequence[Row]) -> dict[str, Any]:
    figures = {
        ALL_TITLES[name]: over_rounds(rows_of(rows, "E1", level="bare", kind="alone", variant=name), "p50_ms").median
        for name in variants(rows, "E1", level="bare")
        if name not in _SECURED
    }
    return _question(
        "Which one answers soonest, alone on the machine?", "ms", "The same call, warm; Python on both sides.", figures
    )


def _others(rows: Sequence[Row]) -> list[dict[str, Any]]:
    pages = {PAGE_TITLES[name]: e3.page(rows, name, 80, 0.0).median for name in e3.ordered(rows, "bare")}
    lists = {
        SHAPE_TITLES[name]: float(row["up"] + row["down"])
        for name in variants(rows, "E4", level="bare")
        for row in rows_of(rows, "E4", kind="bytes", variant=name, rows=100, fields=2)
    }
    news = {
        NEWS_TITLES[name]: e5.hourly(rows, name, 60) for name in variants(rows, "E5", kind="one") if name not in _CALLED
    }
    agents = {
        ALL_TITLES[row["variant"]]: float(row["up"] + row["down"])
        for row in rows_of(rows, "E1", level="shop", kind="bytes", call=100)
        if row["group"].startswith("an agent reads")
    }
    shipped = {
        SHOP_NEWS_TITLES[name]: measured([row["late_ms"]["shipped"] for row in own]).median
        for name, own in e5.of_the_shop(rows).items()
        if name not in _CALLED
    }
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
            rounded,
        ),
        _question(
            "In the shop, an order is shipped: whose customer knows first?",
            "ms",
            "All follow the same orders at the same time; late by how much, from when the order's history says.",
            shipped,
        ),
        _question(
            "In the shop, an AI agent reads a product by MCP, a program by REST: who moves fewer bytes?",
            "bytes",
            "The hundredth call, with a token, from the gateway's cache; the same answer by its hash.",
            agents,
        ),
    ]
