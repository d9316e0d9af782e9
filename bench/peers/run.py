"""`make bench-peers`: ours beside Node's best, bare and with the duties that ours have in production.

The articles' GraphQL query beside Apollo Server and Mercurius, a product's read from gRPC beside Fastify with grpc-js,
and one event to many WebSockets beside npm's `ws`. All get their turns in one run, on the same upstream, and give the
same answers; what is compared is the processor time of the server's own process in the same turn, for it says the most
on a machine that others use, and for the fan-out the rate, too. A ratio of 1 is level, above it ours is ahead.
Exit code 1 when a bar is missed, 2 when Node or its packages cannot be had.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.edge.run import Contender, Load
from bench.npm import NpmMissing
from bench.peers.servers import Servers, fans, graphql, reads
from bench.realtime.crowd import missing
from bench.realtime.run import Contender as Fan
from bench.roles import RESULTS, allow_open_files
from shop.started_shop import unwound_by_signals

_WARM_UPS = 3
# Single events in a turn of the fan-out, for the latency, which is not compared.
_SINGLES = 2
# Less would be behind.
_LEVEL = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: the medians of both, and the median of the turns' own ratios; no bar where none was promised."""

    what: str
    unit: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    bar: float | None

    @property
    def held(self) -> bool:
        return self.bar is None or self.ratio >= self.bar

    def shown(self) -> str:
        bar = "none" if self.bar is None else f">= {self.bar:g}: {'held' if self.held else 'MISSED'}"
        figures = f"{_figure(self.ours):>9} {_figure(self.theirs):>9}  {self.ratio:>5.2f}"
        return f"{self.what:<24} {self.peer:<24} {self.unit:<16} {figures}  {bar}"


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/peers.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="turns that each server gets")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn of requests")
    parser.add_argument("--connections", type=int, default=1_000, help="WebSockets that get each event")
    parser.add_argument("--events", type=int, default=40, help="events in a turn of the fan-out")
    parser.add_argument("--only", choices=["graphql", "read", "fan-out"])
    arguments = parser.parse_args()
    allow_open_files()
    runs: dict[str, Any] = {}
    rows: list[Row] = []
    try:
        for kind in ("graphql", "read", "fan-out"):
            if arguments.only not in (None, kind):
                continue
            if kind == "fan-out" and (reason := missing()):
                print(f"fan-out: NOT MEASURED: {reason}", flush=True)
            else:
                with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder, ExitStack() as started:
                    found, runs[kind] = _measured(kind, Servers(started, Path(folder)), arguments)
                    rows += found
    except NpmMissing as error:
        print(f"bench-peers: nothing was measured beside Node's servers: {error}")
        return 2
    print(f"{'':<66}      ours    theirs  ratio  bar")
    for row in rows:
        print(row.shown())
    result = {
        "machine": {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]},
        "rows": [asdict(row) for row in rows],
        "runs": runs,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(row.held for row in rows) else 1


def _measured(kind: str, servers: Servers, arguments: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """The rows of one comparison, and every run behind them."""
    if kind == "fan-out":
        ours, ws = fans(servers, arguments.connections)
        _fan_out([ours, ws], arguments.rounds, arguments.events)
        return _fan_rows(ours, ws), {name: _runs(fan) for name, fan in (("notifier", ours), ("ws", ws))}
    contenders = graphql(servers) if kind == "graphql" else reads(servers)
    _turns(servers.bench.load, contenders, arguments.rounds, arguments.seconds)
    what = "the articles' query" if kind == "graphql" else "GET a product, gRPC"
    rows = [_request_row(what, contenders[0], peer) for peer in contenders[1:]]
    return rows, {contender.name: contender.runs for contender in contenders}


def _turns(load: Load, contenders: Sequence[Contender], rounds: int, seconds: float) -> None:
    """Measure all in turns, each of them the first by turns."""
    for number in range(-_WARM_UPS, rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            result = load.run(contender, seconds)
            if number >= 0:
                contender.runs.append(result)


def _request_row(what: str, ours: Contender, peer: Contender) -> Row:
    """Bars are for those that carry the same duties."""
    pairs = zip(ours.runs, peer.runs, strict=True)
    ratio = statistics.median(theirs["cpu_us"] / mine["cpu_us"] for mine, theirs in pairs)
    bar = _LEVEL if peer.name.endswith("with duties") else None
    return Row(what, "ms of CPU each", peer.name, ours.median("cpu_us") / 1e3, peer.median("cpu_us") / 1e3, ratio, bar)


def _fan_out(found: Sequence[Fan], rounds: int, events: int) -> None:
    for number in range(-_WARM_UPS, rounds):
        for fan in found if number % 2 else reversed(found):
            fan.turn(events, _SINGLES)
            if number < 0:
                fan.forget()


def _fan_rows(ours: Fan, ws: Fan) -> list[Row]:
    rate = statistics.median(mine / theirs for mine, theirs in zip(ours.rates, ws.rates, strict=True))
    cpu = statistics.median(theirs / mine for mine, theirs in zip(ours.cpu_us, ws.cpu_us, strict=True))
    medians = [statistics.median(figures) for figures in (ours.rates, ws.rates, ours.cpu_us, ws.cpu_us)]
    return [
        Row("an event to WebSockets", "deliveries a s", "ws", medians[0], medians[1], rate, _LEVEL),
        Row("an event to WebSockets", "us of CPU each", "ws", medians[2], medians[3], cpu, _LEVEL),
    ]


def _runs(fan: Fan) -> dict[str, list[float]]:
    return {"deliveries_per_second": fan.rates, "cpu_us": fan.cpu_us, "p50_ms": fan.p50_ms, "p99_ms": fan.p99_ms}


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.2f}"
