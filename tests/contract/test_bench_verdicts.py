"""What benchmarks judge, and what they say that they cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench import start
from bench.edge import recording as edge_recording
from bench.edge.run import Comparison, Contender, Load, compare
from bench.soak.console import judged


def started(pss: float | None) -> dict[str, Any]:
    """Figures that hold every bar but, perhaps, that of memory."""
    orders = dict.fromkeys(
        ("ratio", "commit_floor_ms", "hop_floor_ms", "accepted_median_ms", "accepted_p95_ms"), 1.0
    ) | dict.fromkeys(("paid_to_shipped_median_ms", "paid_to_shipped_max_ms"), 1.0)
    return {
        "machine": {"cores": 2, "load_1m": 1.0},
        "starts": {"median_s": 1.0, "ratio": 1.0, "import_floor_s": 1.0},
        "memory": {"median_mb": pss, "processes_mb": {}},
        "orders": {**orders, "pss_after_mb": pss},
    }


def test_memory_that_cannot_be_read_holds_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """As on macOS, which has no /proc."""
    assert not start.show(started(None))
    shown = capsys.readouterr().out
    assert shown.count("NOT MEASURED: no /proc") == 2
    assert "bar 560 MB" not in shown
    assert start.show(started(561.0))


def sampled(**more: float) -> list[dict[str, float]]:
    return [
        {"at_s": 10.0 * n, "spans_per_s": 200.0, "rss_mb": 100.0, "slowest_request_ms": 5.0, **more} for n in range(9)
    ]


def test_a_page_that_was_not_open_is_not_judged() -> None:
    """Its growth is named, and neither held nor missed."""
    result = judged(sampled(), 200)
    assert (result["missed"], result["not_judged"]) == ([], ["heap_mb_growth", "elements_growth"])
    assert judged(sampled(heap_mb=1.0, elements=7), 200)["not_judged"] == []


def test_a_console_that_takes_fewer_spans_misses() -> None:
    """It was soaked with less than was asked for."""
    assert judged(sampled(), 220)["missed"] == ["spans_per_s"]
    assert judged(sampled(), 210)["missed"] == []


def test_events_that_do_not_reach_their_client_end_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they cost would be that of a client that is not there."""
    monkeypatch.setattr(edge_recording, "_DELIVERED_WITHIN", 0.0)

    class Listener:
        def send(self, _: str) -> None:
            """A stub."""

        def receive(self) -> str:
            return "4"

    listener: Any = Listener()
    shop = edge_recording.Shop({}, {}, listener)
    shop.check_delivered(Contender("an order", {}, [], requests=3))
    with pytest.raises(RuntimeError, match="an order: 4 events of 5 orders were delivered"):
        shop.check_delivered(Contender("an order", {}, [], requests=2))


def test_the_requests_that_warm_up_are_counted() -> None:
    """Their events are delivered as all others: without them as many could be lost."""

    class Loading:
        def send(self, _: str) -> None:
            """A stub."""

        def receive(self) -> str:
            return '{"requests": 4, "statuses": {"202": 4}}'

    bench: Any = SimpleNamespace(load=Load(cast("Any", Loading())))
    ours, floor = Contender("ours", {}, [], "202"), Contender("floor", {}, [], "202")
    compare(bench, Comparison("an order", ours, floor, {}), rounds=2, seconds=0)
    assert [(len(each.runs), each.requests) for each in (ours, floor)] == [(2, 12), (2, 12)]
