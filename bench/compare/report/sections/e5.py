"""E5's tables and the plane: bytes a watcher and hour, against how late the news is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.compare.experiments.e5_news import NEWS_TITLES
from bench.compare.experiments.shop.news import SHOP_NEWS_TITLES, SHOP_WAYS
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import column, digits, measured, percentile, rounded, table, table_of, variants
from bench.compare.report.svg import Picture

# Events an hour, and what that is called.
EVENT_RATES = ((3600, "1 a second"), (60, "1 a minute"), (1, "1 an hour"))
# RFC 6455: each side of websockets' connection pings every 20 s; a ping and its pong are 16 bytes (4 of data, a mask).
_PINGS_PER_HOUR, _PING_BYTES = 2 * 180, 16
_PUSHED = "is sent each event, over a connection that it keeps"
_HOW = {"polling": "polls", "sse": _PUSHED, "websocket": _PUSHED, "subscription": _PUSHED, "webhooks": "is called"}
_PINGED = {"websocket", "subscription"}
# Those that send request after request; long polling sends one for each answer.
_POLLS = {"poll-0.1", "poll-1", "conditional-1", "poll-10", "long-poll"}
_LONG_POLLS_PER_HOUR = 3600 / 25
# Rounds that an interval needs.
_INTERVAL = 5
_LOCKED = (
    "In this run each polling client began with the order, so its polls have the order's own rhythm: how late they are "
    "is true of that one phase, not of a client that polls all the time."
)
_LEFT, _TOP, _WIDTH, _HEIGHT = 80, 64, 860, 460


def tables(rows: Sequence[Row]) -> dict[str, str]:
    names = variants(rows, "E5", kind="one")
    if not names:
        return {}
    own = [rows_of(rows, "E5", kind="one", variant=name)[0] for name in names]
    hours = [
        [f"bytes an hour at {said}", *(rounded(hourly(rows, name, events)) for name in names)]
        for events, said in EVENT_RATES
    ]
    one = [
        ["one watcher", *(NEWS_TITLES[name] for name in names)],
        column("news is late by, ms (p50)", "p50", _late_by(own, "p50")),
        column("p99", "p99", _late_by(own, "p99")),
        ["seen", *(f"{row['seen']} of {row['events']}" for row in own)],
        *hours,
    ]
    own = rows_of(rows, "E5", kind="crowd")
    crowd = [
        ["many watchers", *(NEWS_TITLES[str(row["variant"])] for row in own)],
        ["watchers", *(f"{row['watchers']:,}" for row in own)],
        ["server memory each, KiB", *(digits(row["memory_bytes"] / 1024) for row in own)],
        ["server CPU an event and watcher, µs", *(digits(row["cpu_ms"] * 1000) for row in own)],
        column("news late by, ms (p50)", "p50", _late_by(own, "p50")),
        column("p99", "p99", _late_by(own, "p99")),
        ["seen", *(f"{row['seen']:,} of {row['watchers'] * row['events']:,}" for row in own)],
    ]
    found = {name: table_of(columns) for name, columns in (("e5", one), ("e5-crowd", crowd))}
    return found | ({"e5-shop": _shop(rows)} if variants(rows, "E5", level="shop") else {})


def _shop(rows: Sequence[Row]) -> str:
    body = []
    for name, own in of_the_shop(rows).items():
        late = [_late(own, status) for status in ("confirmed", "paid", "shipped")]
        seen = f"{sum(row['seen'] for row in own)} of {sum(row['events'] for row in own)}"
        moved = measured([float(row["bytes"]) for row in own])
        body.append([SHOP_NEWS_TITLES[name], *late, seen, digits(own[0]["opening_bytes"]), moved])
    head = ["late by, ms: confirmed", "paid", "shipped", "seen", "bytes to connect", "bytes an order"]
    found = table(["one customer, one order a round", *head], body)
    locked = [
        way for way in SHOP_WAYS if way.periodic and any("phase" not in row for row in of_the_shop(rows)[way.name])
    ]
    return found + (f"\n{_LOCKED}\n" if locked else "")


def of_the_shop(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Way -> its rows, a row an order."""
    return {name: rows_of(rows, "E5", level="shop", variant=name) for name in variants(rows, "E5", level="shop")}


def _late(rows: Sequence[Row], status: str) -> str:
    """The median of the rounds that saw it, and of how many that is where it is not all; few have no interval."""
    values = [row["late_ms"][status] for row in rows if status in row["late_ms"]]
    if not values:
        return "never seen"
    found = str(measured(values)) if len(values) >= _INTERVAL else digits(measured(values).median)
    return found if len(values) == len(rows) else f"{found}, {len(values)} of {len(rows)}"


def _late_by(rows: Sequence[Row], name: str) -> list[tuple[str, str]]:
    found = [percentile(row, name, row["seen"]) for row in rows]
    return [(what, "failed" if value is None else digits(value)) for what, value in found]


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of a watcher in an hour: `base` whatever happens, and `event` for each event, of at least `least`."""

    base: float
    event: float
    least: float

    def hourly(self, events: float) -> float:
        return max(1.0, self.base + max(events, self.least) * self.event)


def cost(rows: Sequence[Row], name: str) -> Cost:
    """Cost of a poll and of an event, from the measured polls and events.

    A poll costs what one without news costs, an event what it adds to one (10 s polls: as those of 1 s). Older runs
    have both by windows of time, and so has what is pushed, where nothing moves but events.
    """
    own = rows_of(rows, "E5", kind="one", variant=name)[0]
    polls = own if own["every_s"] <= 1 else rows_of(rows, "E5", kind="one", variant="poll-1")[0]
    idle = polls["idle_bytes_per_s"] * (polls["every_s"] / own["every_s"] if own["every_s"] else 1)
    if "poll_bytes" in polls:
        return Cost(polls["poll_bytes"] * 3600 / own["every_s"], polls["event_bytes"], 0.0)
    event = max(0.0, polls["window_bytes"] - polls["idle_bytes_per_s"] * polls["window_s"]) / polls["events"]
    if name == "long-poll":
        return Cost(0.0, event, _LONG_POLLS_PER_HOUR)
    pings = _PINGS_PER_HOUR * _PING_BYTES if name in _PINGED else 0
    return Cost(idle * 3600 * (own["every_s"] > 0) + pings, event, 0.0)


def hourly(rows: Sequence[Row], name: str, events: float) -> float:
    """Bytes of a watcher in an hour with so many events."""
    return cost(rows, name).hourly(events)


def news(rows: Sequence[Row]) -> dict[str, Any]:
    """The plane for a page that moves it: of each way its delay in ms, and what its bytes are made of."""
    ways = []
    for name in variants(rows, "E5", kind="one"):
        if late := _delay(rows, name):
            how = "polls" if name in _POLLS else "called" if name == "webhook" else "pushed"
            ways.append(
                {
                    "title": NEWS_TITLES[name],
                    "how": how,
                    "delay": late,
                    "shown": digits(late),
                    **asdict(cost(rows, name)),
                }
            )
    return {"ways": ways}


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    names = [name for name in variants(rows, "E5", kind="one") if _delay(rows, name)]
    if not names:
        return {}
    return {"e5-plane.svg": _plane(rows, names), **_shop_picture(rows)}


def _shop_picture(rows: Sequence[Row]) -> dict[str, str]:
    found = {
        name: measured([max(0.1, row["late_ms"]["shipped"]) for row in own]) for name, own in of_the_shop(rows).items()
    }
    groups = {way.name: _HOW[way.way] for way in SHOP_WAYS}
    lines = [Dots(SHOP_NEWS_TITLES[name], late, groups[name]) for name, late in found.items()]
    title = "An order is shipped, in the shop: its customer hears of it after, ms"
    return {"e5-shop.svg": draw_dots(title, lines, "ms")} if lines else {}


def _plane(rows: Sequence[Row], names: Sequence[str]) -> str:
    points = {name: [hourly(rows, name, each) for each, _ in EVENT_RATES] for name in names}
    delays = {name: _delay(rows, name) for name in names}
    title = "News: what a watcher costs, and how late the news is"
    said = "; ".join(
        f"{NEWS_TITLES[name]}: late by {digits(delays[name])} ms, {rounded(each[1])} bytes an hour"
        for name, each in points.items()
    )
    picture = Picture(_WIDTH, _HEIGHT, title, f"Dots at one event a minute. {said}.")
    picture.text(16, 26, title, size="big")
    picture.text(
        16,
        46,
        "delay, ms; large: an event a minute; small: an event a second (right) and an hour (left)",
        colour="quiet",
    )
    xs = [math.log10(value) for each in points.values() for value in each]
    ys = [math.log10(value) for value in delays.values()]
    left, right, low, high = math.floor(min(xs)), math.ceil(max(xs)), math.floor(min(ys)), math.ceil(max(ys))

    def at(value: float, delay: float) -> tuple[float, float]:
        across = (math.log10(value) - left) / (right - left or 1)
        up = (math.log10(delay) - low) / (high - low or 1)
        return _LEFT + across * (_WIDTH - _LEFT - 200), _HEIGHT - 50 - up * (_HEIGHT - _TOP - 70)

    for power in range(left, right + 1):
        x, _ = at(10.0**power, 10.0**low)
        picture.line(x, _TOP, x, _HEIGHT - 44)
        picture.text(x, _HEIGHT - 26, f"{10.0**power:,.0f}", colour="quiet", anchor="middle", size="small")
    for power in range(low, high + 1):
        _, y = at(10.0**left, 10.0**power)
        picture.line(_LEFT, y, _WIDTH - 200, y)
        picture.text(_LEFT - 8, y + 4, f"{10.0**power:g}", colour="quiet", anchor="end", size="small")
    picture.text(_WIDTH / 2 - 60, _HEIGHT - 8, "bytes of a watcher in an hour", colour="quiet", anchor="middle")
    label = 0.0
    for name, values in sorted(points.items(), key=lambda each: -delays[each[0]]):
        polls = name.startswith(("poll", "conditional"))
        colour = "b" if polls else "d" if name == "webhook" else "c"
        picture.path([at(value, delays[name]) for value in values], colour)
        for value in (values[0], values[2]):
            picture.dot(*at(value, delays[name]), colour, 2.5)
        x, y = at(values[1], delays[name])
        picture.dot(x, y, colour, 6)
        label = max(label + 15, y + 4)
        picture.text(
            _WIDTH - 190, label, f"{NEWS_TITLES[name]}: {digits(delays[name])} ms", colour=colour, size="small"
        )
    return picture.svg()


def _delay(rows: Sequence[Row], name: str) -> float:
    return float(rows_of(rows, "E5", kind="one", variant=name)[0].get("p50_ms") or 0.0)
