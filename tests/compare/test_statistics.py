"""Percentiles, intervals, ratios and equality are right for inputs whose answers are known."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")

from bench.compare.adapters.port import Call, Link, Rows, Selection
from bench.compare.measure.open_loop import open_loop
from bench.compare.measure.sessions import Client
from bench.compare.measure.statistics import canonical, digest, interval, percentiles, ratios, write_hgrm
from bench.compare.report.figures import column, digits, measured, percentile
from bench.compare.report.sections.e2 import client_cpu


def test_percentiles_of_a_known_distribution() -> None:
    """1 to 1,000 ms, each once: p50 is 500, p99 990, to three digits."""
    found = percentiles([each / 1000 for each in range(1, 1001)])
    assert found["p50"] == pytest.approx(500, rel=0.002)
    assert found["p99"] == pytest.approx(990, rel=0.002)
    assert found["max"] == pytest.approx(1000, rel=0.002)


@pytest.mark.parametrize(
    ("count", "known"),
    [
        (1, {"max"}),
        (2, {"p50", "max"}),
        (10, {"p50", "p90", "max"}),
        (99, {"p50", "p90", "max"}),
        (100, {"p50", "p90", "p99", "max"}),
        (999, {"p50", "p90", "p99", "max"}),
        (1_000, {"p50", "p90", "p99", "p99.9", "max"}),
    ],
)
def test_a_percentile_of_too_few_calls_is_left_out(count: int, known: set[str]) -> None:
    """p99 begins with 100 calls and p99.9 with 1,000: of fewer it would be their maximum."""
    assert set(percentiles([each / 1000 for each in range(1, count + 1)])) == known


def test_tables_call_a_maximum_a_maximum() -> None:
    """50 calls have no p99, neither in a new row nor in one that an older run wrote under that name."""
    assert percentile({"p50_ms": 1.0, "max_ms": 4.0}, "p99", 50) == ("max of 50", 4.0)
    assert percentile({"p50_ms": 1.0, "p99_ms": 4.0}, "p99", 50) == ("max of 50", 4.0)
    assert percentile({"p99_ms": 3.0, "max_ms": 4.0}, "p99", 100) == ("p99", 3.0)
    of_all = [("max of 50", "4.0"), ("", "-"), ("max of 50", "5.0")]
    assert column("p99 at 20 %", "p99", of_all) == ["max of 50 at 20 %", "4.0", "-", "5.0"]
    of_one = [("p99", "4.0"), ("max of 66", "5.0")]
    assert column("p99 at 20 %", "p99", of_one) == ["p99 at 20 %", "4.0", "max of 66: 5.0"]


def test_failures_are_infinitely_late() -> None:
    """With 2 % failed, p90 is what the others say, and p99 has no value."""
    found = percentiles([0.001] * 98 + [math.inf] * 2)
    assert found["p90"] == pytest.approx(1.0, rel=0.002)
    assert found["p99"] is None


def test_an_interval_of_equal_rounds_is_a_point() -> None:
    """Rounds that agree leave no doubt."""
    assert interval([4.0] * 7) == (4.0, 4.0)


def test_intervals_cover_what_they_say() -> None:
    """Of 200 experiments of 15 rounds, the 95 % interval of the median holds the true one in 88 % to 100 %."""
    draw = random.Random(16)  # noqa: S311 - repeatable
    held = 0
    for _ in range(200):
        low, high = interval([draw.gauss(10, 2) for _ in range(15)])
        held += low <= 10 <= high
    assert 176 <= held <= 200


def test_intervals_are_the_same_each_time() -> None:
    """A picture drawn again from the same file is the same picture."""
    values = [1.0, 5.0, 2.0, 8.0, 3.0, 4.0, 9.0]
    assert interval(values) == interval(values)
    assert interval(values, statistics.fmean)[0] < statistics.fmean(values) < interval(values, statistics.fmean)[1]


def test_ratios_are_taken_within_rounds() -> None:
    """A round that was slow for both changes no ratio."""
    assert ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == [2.0, 2.0, 2.0]


def test_the_order_of_names_does_not_matter_and_the_content_does() -> None:
    """Equal answers have equal hashes; a row more, less, or in another order is another answer."""
    one, other = [{"a": "1", "b": "é"}], [{"b": "é", "a": "1"}]
    assert digest(one) == digest(other)
    assert canonical(one) == '[{"a":"1","b":"é"}]'.encode()
    assert len({digest(each) for each in (one, one + one, [], [{"a": 1, "b": "é"}])}) == 4


def test_digits_say_no_more_than_is_known() -> None:
    """Two significant digits, or whole numbers."""
    assert [digits(each) for each in (0, 0.123, 1.26, 12.6, 1234.5)] == ["0", "0.12", "1.3", "13", "1,234"]
    assert str(measured([1.0, 2.0, 3.0])).startswith("2.0 (")


def test_distributions_are_kept_for_plotters(tmp_path: Path) -> None:
    """`.hgrm` in milliseconds, as HdrHistogram's tools read it."""
    write_hgrm([0.001, 0.002, 0.003], tmp_path / "x.hgrm")
    text = (tmp_path / "x.hgrm").read_text()
    assert "Percentile" in text
    assert "Max     =        3.00" in text.replace("3.001", "3.00")


async def test_a_stall_is_charged_to_every_call_that_it_made_late() -> None:
    """One call blocks for 0.3 s: those due meanwhile count from when they were due (a closed loop hides it)."""
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            until = time.perf_counter() + 0.3
            while time.perf_counter() < until:
                continue  # the stall: nothing else in the loop runs

    late = await open_loop(call, rate=50, seconds=0.4, timeout=5)
    assert len(late) == 20
    assert [each > 0.3 - index * 0.02 - 0.005 for index, each in enumerate(late[:15])] == [True] * 15


async def test_a_call_that_fails_or_takes_too_long_has_no_latency() -> None:
    """It is counted, as infinitely late."""
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError
        if calls == 2:
            await asyncio.Event().wait()

    late = await open_loop(call, rate=100, seconds=0.04, timeout=0.5)
    assert [math.isinf(each) for each in late] == [True, True, False, False]


# Seconds by which the clock of the stub below is ahead.
PASSED: list[float] = []


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """A stub of ten calls, all answered half a second after the last of them, of which nothing is work."""
    del link
    begun, answered = 0, asyncio.Event()

    async def call(selection: Selection) -> Rows:
        nonlocal begun
        del selection
        begun += 1
        if begun == 10:
            PASSED.append(0.5)
            answered.set()
        await answered.wait()
        return []

    yield call


async def test_a_clients_cpu_is_a_share_of_the_time_that_its_round_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round is over with its last answer: calls due within 50 ms and answered after 500 take over half a second."""
    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + sum(PASSED))
    client = Client(__name__)
    await client.open(Link(0))
    done = await client.rate(Selection(), rate=200, seconds=0.05)
    await client.close()
    assert done["elapsed"] >= max(done["seconds"]) >= 0.5
    assert done["cpu"] / done["elapsed"] <= 1


def test_a_client_is_the_bottleneck_only_by_the_time_that_passed() -> None:
    """A run that does not say how long its rounds took shows no share at all."""
    assert (
        client_cpu([{"client_cpu_share": 0.3, "elapsed_s": 1.0}, {"client_cpu_share": 0.5, "elapsed_s": 1.0}]) == "50%"
    )
    assert client_cpu([{"client_cpu_share": 0.9, "elapsed_s": 1.0}]) == "90% (its client is the bottleneck)"
    assert client_cpu([{"client_cpu_share": 2.49}]) == "-"
