"""Percentiles by HdrHistogram, intervals by bootstrap over rounds, and answers proved equal by a hash."""

from __future__ import annotations

import hashlib
import json
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

# Microseconds that a histogram can hold, at three significant digits. A failed call is recorded as the highest.
MAX_MICROSECONDS = 60_000_000
# Percentile -> of how many values at least: of fewer, none lies beyond it, and it is their maximum.
PERCENTILES = {50.0: 2, 90.0: 10, 99.0: 100, 99.9: 1_000}
RESAMPLES = 2_000


def histogram(seconds: Sequence[float], most: int = MAX_MICROSECONDS) -> HdrHistogram:
    """All of these latencies, up to `most` microseconds; failures, which are infinite, as the highest value."""
    found = HdrHistogram(1, most, 3)
    for each in seconds:
        found.record_value(MAX_MICROSECONDS if math.isinf(each) else min(max(1, round(each * 1e6)), MAX_MICROSECONDS))
    return found


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """The p50, p90, p99 and p99.9 for which there are enough values, and the maximum; in milliseconds.

    None: failures reach as far as that.
    """
    found = histogram(seconds)
    known = [each for each in PERCENTILES if enough(f"p{each:g}", len(seconds))]
    values = {f"p{each:g}": found.get_value_at_percentile(each) for each in known}
    values["max"] = found.get_max_value()
    limit = HdrHistogram(1, MAX_MICROSECONDS, 3).get_lowest_equivalent_value(MAX_MICROSECONDS)
    return {name: None if value >= limit else value / 1000 for name, value in values.items()}


def enough(percentile: str, count: int) -> bool:
    """Whether `count` values have this percentile ("p99"): whether at least one of them lies beyond it."""
    return count >= PERCENTILES[float(percentile.removeprefix("p"))]


def write_hgrm(seconds: Sequence[float], path: Path) -> None:
    """The percentile distribution in milliseconds, in the format that HdrHistogram's plotters read."""
    # A histogram is written bucket by bucket, and most of those up to a minute would be empty.
    most = max(MAX_MICROSECONDS if math.isinf(each) else round(each * 1e6) for each in seconds)
    with path.open("wb") as file:
        histogram(seconds, max(2_000, 2 * most)).output_percentile_distribution(file, 1000.0)


def interval(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = statistics.median,
    *,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap: the interval of `statistic` when rounds are drawn again, with the same draws each time."""
    if not values:
        raise ValueError("an interval needs at least one value")
    draw = random.Random(len(values))  # noqa: S311 - no secret; the same file gives the same picture
    found = sorted(statistic(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    cut = (1 - confidence) / 2
    return found[int(cut * RESAMPLES)], found[min(RESAMPLES - 1, math.ceil((1 - cut) * RESAMPLES) - 1)]


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round's value by the base's of the same round: what disturbs a round disturbs both."""
    return [each / other for each, other in zip(values, base, strict=True)]


def canonical(answer: Sequence[Mapping[str, Any]]) -> bytes:
    """One form for one answer: JSON with sorted names, no spaces, UTF-8."""
    return json.dumps(list(answer), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(answer: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(answer)).hexdigest()
