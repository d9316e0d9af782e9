"""`shop compare` end to end, quickly: its files are valid, its pictures are readable, and it leaves nothing running."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")
pytest.importorskip("connectrpc", reason="not run: needs connectrpc, of the development environment")

from bench.compare import command
from bench.compare.experiments.e6_bulk import CANCELLED_PARTS
from bench.compare.experiments.e8_failure import ANSWER_BYTES, CALLER_TIMEOUT, FAULTS, SHOP_READS
from bench.compare.experiments.shop.lost_answers import WAYS
from bench.compare.measure.folder import Row, rows, rows_of
from bench.compare.report.draw import draw, names_of_blocks
from bench.compare.variants import HTTP2, READS, TRUSTED, reads
from shop.errors import Refused

LEVELS = ("bare", "shop")
SVG = "{http://www.w3.org/2000/svg}"
MARK = "COMPARE_TEST_RUN"


def compare(folder: Path, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does; whatever it starts inherits a mark by which it is found."""
    return subprocess.run(
        [sys.executable, "-m", "shop", "compare", *arguments, "--quick", "--out", str(folder)],
        env={**os.environ, MARK: str(folder), "SHOP_BROKER_URL": ""},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def still_running(folder: Path) -> list[int]:
    def marked(process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    return [process.pid for process in psutil.process_iter() if marked(process)]


@pytest.mark.long
@pytest.mark.timeout(420)
def test_a_quick_run_without_the_shop(tmp_path: Path) -> None:
    """With `--bare` every row is of the bare level, and the folder says what was run and with which libraries."""
    folder = tmp_path / "run"
    done = compare(folder, "E7", "--bare")
    assert done.returncode == 0, done.stderr
    assert "E7: the worker of queue dies" in done.stderr  # progress
    assert {row["level"] for row in rows(folder)} == {"bare"}
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["command"].startswith("shop compare E7 --bare --quick")
    assert environment["libraries"]["grpcio"]
    assert still_running(folder) == []


@pytest.mark.long
@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_quick_run_of_everything(tmp_path: Path) -> None:
    """Each experiment is carried out to its end on both levels, with rows of the right shape, and so are the lies."""
    folder = tmp_path / "run"
    done = compare(folder, "all", "--make-it-lie", timeout=850)
    assert done.returncode == 0, done.stderr
    found = rows(folder)
    for experiment, check in CHECKS.items():
        own = rows_of(found, experiment)
        assert own, experiment
        check(own)
    check_files_of_reads(folder, rows_of(found, "E1", level="bare"))
    check_pictures(folder)
    document = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text()
    tables = (folder / "tables.md").read_text()
    assert [name for name in names_of_blocks(document) if f"## {name}\n" not in tables] == []
    assert still_running(folder) == []
    again = tmp_path / "again"
    draw(folder, again)
    assert (again / "e1-bytes-bare.svg").read_text() == (folder / "e1-bytes-bare.svg").read_text()


def check_files_of_reads(folder: Path, own: list[Row]) -> None:
    """Every bare variant has bytes that add up, equal answers and a time each round, with its samples beside them."""
    names = [variant.name for variant in reads({}, "")]
    assert [row["variant"] for row in rows_of(own, "E1", kind="bytes", call=1)] == names
    for row in rows_of(own, "E1", kind="bytes"):
        assert row["up"] == sum(row["layers_up"].values()) > 0
        assert row["down"] == sum(row["layers_down"].values()) > 0
    assert len({row["answer_sha256"] for row in own}) == 1
    for name in names:
        assert [row["round"] for row in rows_of(own, "E1", kind="alone", variant=name)] == [0, 1]
        assert (folder / f"E1-bare-{name}-alone.hgrm").read_text().startswith("       Value")
    samples = rows_of(map(json.loads, (folder / "samples.ndjson").read_text().splitlines()), "E1")
    bare = {(each["variant"], len(each["seconds"])) for each in samples if each["variant"].startswith("bare-")}
    assert bare == {(f"bare-{name}", 5) for name in names}


def check_reads(own: list[Row]) -> None:
    """The shop's reads stand in groups; within a group all answers are equal, and the caller is named."""
    groups: dict[str, set[str]] = {}
    for row in rows_of(own, "E1", level="shop"):
        groups.setdefault(row["group"], set()).add(row["answer_sha256"])
        assert row["identity"]
    assert len(groups) == 7
    assert {len(hashes) for hashes in groups.values()} == {1}
    mcp = rows_of(own, "E1", kind="bytes", variant="shop-mcp-tool", call=100)
    assert mcp[0]["layers_up"]["identity"] > 100  # an agent's own token, each time


def check_rates(own: list[Row]) -> None:
    """Every call is counted, answered or failed; percentiles do not fall; the instrument is measured beside them.

    No client had more CPU than the machine has.
    """
    bare = {row["variant"] for row in own if row["level"] == "bare"}
    assert bare == {"nothing", TRUSTED.name, *(variant.name for variant in READS)}
    groups = {row["group"]: set[str]() for row in own if "group" in row}
    for row in own:
        if "group" in row:
            groups[row["group"]].add(row["answer_sha256"])
    assert [len(hashes) for hashes in groups.values()] == [1, 1]
    for row in rows_of(own, "E2", kind="rate"):
        assert row["n"] == max(1, round(row["rate"] * 0.15))
        assert 0 <= row["failed"] <= row["n"]
        assert ("p99_ms" in row) == (row["n"] >= 100)
        found = [row.get(name) for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")]
        known = [value for value in found if value is not None]
        assert known == sorted(known)
        assert row["elapsed_s"] > 0
        assert 0 < row["client_cpu_share"] <= (os.cpu_count() or 1)


def check_distances(own: list[Row]) -> None:
    """No page is complete before its round trips are over: one for TCP, one for each thing that waits for another.

    A WebSocket has one more for its handshake, and gRPC one in which it waits for the server's settings.
    """
    least = {
        "page-rest-1": 4,
        "page-rest-6": 4,
        "page-rest-http2": 4,
        "page-grpc": 5,
        "page-websocket": 5,
        "page-graphql": 2,
    }
    for row in own:
        assert row["ms"] >= least[row["variant"].removeprefix("shop-")] * row["round_trip_ms"] * 0.97
        assert row["ends_ms"] == sorted(row["ends_ms"])


def check_shapes(own: list[Row]) -> None:
    """Requests and table reads are those of the shape: N+1 reads a row a time, a DataLoader and a list once."""
    counted = rows_of(own, "E4", kind="bytes", rows=100, fields=2)
    assert {len({row["answer_sha256"] for row in rows_of(counted, "E4", level=level)}) for level in LEVELS} == {1}
    reads = {row["variant"]: (row["requests"], row["reads"]) for row in rows_of(counted, "E4", level="bare")}
    assert reads["rest-each"] == (100, 100)
    assert reads["graphql-n1"] == (1, 100)
    assert {name: each for name, each in reads.items() if name not in ("rest-each", "graphql-n1")} == dict.fromkeys(
        ("rest-list", "rest-gzip", "graphql-list", "graphql-batched", "grpc-list", "grpc-gzip"), (1, 1)
    )


def check_news(own: list[Row]) -> None:
    """Every watcher sees every event once, whichever way it comes; polling costs bytes where nothing happens.

    What an event adds to a poll does not depend on how often one polls.
    """
    for row in own:
        may_miss = row["kind"] == "order" and ("poll" in row["variant"] or "conditional" in row["variant"])
        wanted = row["events"] * row.get("watchers", 1)
        # Between two polls, also long ones, an order may have had two statuses; each watcher sees the last one.
        assert row["seen"] == wanted or (may_miss and 0 < row["seen"] < wanted), row
    idle = {row["variant"]: row["idle_bytes_per_s"] for row in own if row["kind"] == "one"}
    assert idle["poll-0.1"] > 100 > idle["sse"] == idle["websocket"] == 0
    polled = {row["variant"]: row for row in own if row["kind"] == "one" and "poll_bytes" in row}
    assert set(polled) == {"poll-0.1", "poll-1", "conditional-1"}
    assert polled["poll-0.1"]["event_bytes"] == pytest.approx(polled["poll-1"]["event_bytes"], rel=0.1)


def check_bulk(own: list[Row]) -> None:
    """One hash for each group's content, and a sender that stops before it has nothing left to send."""
    groups = {(row["level"], row["group"]): set[str]() for row in own}
    for row in own:
        groups[row["level"], row["group"]].add(row["answer_sha256"])
        assert row["seconds"] > 0
        assert row.get("warm_up", 0) < row["amount"]
        if sys.platform == "linux":
            assert min(row["growth_server"], row["growth_client"]) >= 0
    assert len(groups) == 5
    assert {len(each) for each in groups.values()} == {1}
    down = rows_of(own, "E6", level="bare", group="down")
    assert all(row["stopped_ms"] >= 0 for row in down)
    assert all(0 < row["cancelled_sent"] < CANCELLED_PARTS * row["amount"] for row in down)


def check_later(own: list[Row]) -> None:
    """An accepted order is answered before it is done, one done in the request is not. Memory keeps nothing."""
    for row in rows_of(own, "E7", kind="time"):
        assert row["effect_ms"] >= row["answer_ms"]
        assert row["effect_ms"] >= 49
        if row["variant"] == "sync":
            assert row["answer_ms"] >= 49
    kept = {row["variant"]: row["kept"].partition(";")[0] for row in rows_of(own, "E7", kind="death")}
    assert kept == {"sync": "no", "queue": "no", "webhook": "no", "shop": "yes"}


def check_failures(own: list[Row]) -> None:
    """Every client finds out; from silence only by its own patience, and a cut comes inside its answer.

    An order is repeated safely under its key.
    """
    assert all(row["error"] for row in own)
    for level, names in (("bare", {variant.name for variant in (*READS, HTTP2)}), ("shop", set(SHOP_READS))):
        failed = [row for row in rows_of(own, "E8", level=level) if row["kind"] != "sent again"]
        assert {(row["variant"], row["kind"]) for row in failed} == set(itertools.product(names, FAULTS))
        assert all(row["ms"] >= CALLER_TIMEOUT * 990 for row in failed if row["kind"] == "silent")
        assert {row["answer_bytes"] for row in failed if row["kind"] == "cut"} == {ANSWER_BYTES}
    again = {row["variant"]: (row["orders"], row["replayed"]) for row in rows_of(own, "E8", kind="sent again")}
    assert again == {name: (1, True) if way.keyed else (2, False) for name, way in WAYS.items()}


def check_people(own: list[Row]) -> None:
    """There are lines to count, and none where a person needs a generator first."""
    assert {row["variant"]: row["lines"]["curl"] for row in own}["grpc"] is None
    assert all(row["lines"]["Python"] > 0 for row in own)


def check_lies(own: list[Row]) -> None:
    """Each of the four mistakes was made, and the closed loop hides the stall that the open loop shows."""
    kinds = {"closed loop", "new connection each", "one start for all", "publishes counted as done"}
    assert {row["kind"] for row in own} == kinds
    for row in rows_of(own, "lie", kind="closed loop"):
        assert row["right"] > 100
        assert row["right"] > row["wrong"]


CHECKS: dict[str, Callable[[list[Row]], None]] = {
    "E1": check_reads,
    "E2": check_rates,
    "E3": check_distances,
    "E4": check_shapes,
    "E5": check_news,
    "E6": check_bulk,
    "E7": check_later,
    "E8": check_failures,
    "E9": check_people,
    "lie": check_lies,
}


def check_pictures(folder: Path) -> None:
    """Each has a title and a description that assistive technology reads, and colours for light and dark."""
    pictures = sorted(folder.glob("*.svg"))
    assert pictures
    for path in pictures:
        svg = ET.fromstring(path.read_text())  # noqa: S314 - our own
        assert svg.get("role") == "img"
        assert svg.get("aria-labelledby") == "title description"
        texts = {child.get("id"): child.text for child in svg if child.tag in (f"{SVG}title", f"{SVG}desc")}
        assert len(texts["title"] or "") > 10
        assert len(texts["description"] or "") > 20
        assert "prefers-color-scheme:dark" in path.read_text()


def test_what_cannot_be_compared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown experiment, a folder with something in it, a run that is none, and a missing package: named."""
    (tmp_path / "something").touch()
    common = {"quick": True, "lie": False, "bare": True}
    with pytest.raises(Refused, match=r"unknown experiment E99; there are: E1, .*all"):
        command.compare(["e99"], **common, folder=None, draw_only=None)
    with pytest.raises(Refused, match="is not empty"):
        command.compare(["E1"], **common, folder=tmp_path, draw_only=None)
    with pytest.raises(Refused, match="nothing was measured there"):
        command.compare([], **common, folder=None, draw_only=tmp_path)
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(Refused, match="development environment; missing: hdrhistogram, connectrpc, hypercorn"):
        command.compare(["E1"], **common, folder=None, draw_only=None)


def test_a_quick_run_shares_the_time_that_it_waits_and_a_full_one_does_not() -> None:
    """Each experiment has its turn once, in order; in a quick run those that mostly wait share theirs."""
    everything = list(command.EXPERIMENTS)
    assert command.turns([*everything, "lie"], quick=False) == [[name] for name in (*everything, "lie")]
    quick = command.turns([*everything, "lie"], quick=True)
    assert quick == [["E1"], ["E2", "E3", "E5", "E7"], ["E4", "E6", "E8", "E9"], ["lie"]]
    assert command.turns(["E5", "E1"], quick=True) == [["E5"], ["E1"]]
