"""The live map: the architecture picture's boxes and arrows, with figures from the last minutes' traces."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import quantiles
from typing import Any

from chassis.broker.port import QueueDepth
from console.views.traffic import WINDOW, Arrow, Traffic, TrafficHistory

_DOCS = Path(__file__).parents[2] / "docs"
_MAX_MINUTES = 15


@lru_cache
def picture() -> dict[str, Any]:
    """Boxes and arrows as the architecture picture has them (docs/layout.toml, docs/architecture.toml)."""
    layout = tomllib.loads((_DOCS / "layout.toml").read_text())
    roles = {
        each["name"]: each["role"] for each in tomllib.loads((_DOCS / "architecture.toml").read_text())["processes"]
    }
    return {
        "boxes": [{"name": name, "at": at, "role": roles.get(name, "")} for name, at in layout["boxes"].items()],
        "band": layout["broker"]["band"],
        "queues": layout["broker"]["queues"],
        "lines": {tuple(name.split(" ")): line["points"] for name, line in layout["lines"].items()},
    }


def topology(
    history: TrafficHistory,
    minutes_ago: int,
    now: float | None = None,
    depths: Sequence[QueueDepth] = (),
    unread: int | None = None,
) -> dict[str, Any]:
    """The picture with, for each arrow, what went over it in the minute that ended `minutes_ago` minutes ago.

    `rate` is hops a second, `p50_ms` and `p95_ms` how long they took (for the broker's arrows: how long they waited).
    `breaker_open` means that the last of these calls was not made. Arrows that the picture does not have come without
    points. `depths` are the queues' as they are now: `oldest_seconds` and `consumers` are null where nothing waits or
    the broker has no such figure (RabbitMQ has no age). `unread` entries of the event log have not been read by reports
    now; null where that is not known.
    """
    until = (time.time() if now is None else now) - 60 * min(max(0, minutes_ago), _MAX_MINUTES)
    traffic = history.until(until)
    drawn = picture()
    arrows = [_arrow(arrow, points, traffic.pop(arrow, Traffic())) for arrow, points in drawn["lines"].items()]
    arrows += [_arrow(arrow, None, each) for arrow, each in sorted(traffic.items())]
    known = {depth.queue: depth for depth in depths}
    queues = [
        {
            "name": name,
            "at": at,
            "ready": depth.ready,
            "delayed": depth.delayed,
            "dead": depth.dead,
            "oldest_seconds": depth.age(),
            "consumers": depth.consumers,
        }
        for name, at in drawn["queues"].items()
        if (depth := known.get(name)) is not None
    ]
    return {
        "boxes": drawn["boxes"],
        "band": drawn["band"],
        "queues": queues,
        "arrows": arrows,
        "until": until,
        "unread": {"reports": unread},
    }


def _arrow(arrow: Arrow, points: Any, traffic: Traffic) -> dict[str, Any]:
    origin, protocol, target = arrow
    times = traffic.durations
    return {
        "from": origin,
        "protocol": protocol,
        "to": target,
        "points": points,
        "count": traffic.count,
        "rate": round(traffic.count / WINDOW, 3),
        "failed": traffic.failed,
        "breaker_open": traffic.breaker_open,
        "p50_ms": _percentile(times, 50),
        "p95_ms": _percentile(times, 95),
    }


def _percentile(times: list[float], percent: int) -> float | None:
    if not times:
        return None
    if len(times) == 1:
        return round(times[0], 3)
    return round(quantiles(times, n=100, method="inclusive")[percent - 1], 3)
