"""`make bench-edge`: what the edge costs beside what cannot be had cheaper.

Each comparison runs in turns in one run on one machine, the load in a process of its own, every process as in
production: token checked, limits counted, access log written, one trace in ten recorded and exported. Bars of issue 3;
exit code 1 when one is missed. The rates say little on another machine or a busy one, the ratios and the processor
time a request costs (over all processes) do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.roles import RESULTS, Role, cpu_seconds, listens, not_run, own_databases, role
from shop.started_shop import unwound_by_signals

PRODUCT = "/v1/products/42"
ORDER = json.dumps({"items": [{"product_id": "42", "quantity": 1}, {"product_id": "123", "quantity": 2}]})
UNLIMITED = "1000000000/minute"
_ON_POSTGRESQL = "order, PostgreSQL"
SIGN_IN = {"username": "demo@shop.test", "password": "demo"}


@dataclass
class Process:
    name: str
    process: subprocess.Popen[str]
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu_seconds(self.process.pid)


@dataclass
class Contender:
    """One of two that are compared: its requests, and the processes that work for it."""

    name: str
    job: dict[str, Any]
    processes: Sequence[Process]
    expected: str = "200"
    runs: list[dict[str, Any]] = field(default_factory=list)
    # All that were made, those of the round that warms up included.
    requests: int = 0

    def median(self, figure: str) -> float:
        return float(statistics.median(run[figure] for run in self.runs))

    def split(self) -> str:
        """Processor time by process."""
        each = zip(*(run["cpu_us_each"] for run in self.runs), strict=True)
        medians = [statistics.median(figures) for figures in each]
        return ", ".join(f"{process.name} {us:.0f}" for process, us in zip(self.processes, medians, strict=True))


@dataclass
class Comparison:
    """`bars` by figure: at least, for rates; at most, for the rest."""

    name: str
    ours: Contender
    floor: Contender
    bars: dict[str, float]

    def ratio(self, figure: str) -> float:
        """The median of the rounds' own ratios: a machine that slows down slows both."""
        pairs = zip(self.ours.runs, self.floor.runs, strict=True)
        return float(statistics.median(ours[figure] / floor[figure] for ours, floor in pairs))

    def held(self, figure: str) -> bool:
        ratio, bar = self.ratio(figure), self.bars[figure]
        return ratio >= bar if figure == "rate" else ratio <= bar


class Load:
    """The load's process."""

    def __init__(self, role: Role) -> None:
        """Wait until it has started."""
        self._role = role
        role.receive()

    def run(self, contender: Contender, seconds: float) -> dict[str, Any]:
        before = [process.cpu() for process in contender.processes]
        job = {**contender.job, "seconds": seconds, "prefix": uuid.uuid4().hex}
        self._role.send(json.dumps(job))
        result: dict[str, Any] = json.loads(self._role.receive())
        if set(result["statuses"]) != {contender.expected}:
            raise RuntimeError(f"{contender.name} answered {result['statuses']}")
        contender.requests += result["requests"]
        spent = [process.cpu() - then for process, then in zip(contender.processes, before, strict=True)]
        each = [seconds / result["requests"] * 1e6 for seconds in spent]
        return {**result, "cpu_us": sum(each), "cpu_us_each": each}


class Bench:
    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.load = Load(stack.enter_context(role("bench.edge.load", errors=folder / "load.log")))

    def start(self, kind: str, name: str = "", **settings: Any) -> Process:
        """A process of the benchmark; it prints its port once it serves."""
        log = self._folder / f"{kind}-{uuid.uuid4().hex[:6]}.log"
        started = self._stack.enter_context(role("bench.edge.roles", kind, json.dumps(settings), errors=log))
        return Process(name or kind, started.process, int(started.receive()))

    def databases(self, server: str) -> str:
        """The URL of databases of our own, which are dropped when the processes that use them have ended."""
        return self._stack.enter_context(own_databases(server))

    def service(self, name: str, data_dir: Path, **settings: Any) -> Process:
        module = "gateway.bootstrap" if name == "gateway" else f"services.{name}.bootstrap"
        production = {"trace_sample_ratio": 0.1, "capture": False}
        own = {f"{name}_port": 0, "data_dir": str(data_dir), **production, **settings}
        return self.start("service", name, module=module, **own)


@dataclass
class Shop:
    """The part of the shop that an order crosses before it is accepted."""

    gateway: Process
    cached: Process
    limited: Process
    inside: dict[str, Process]
    token: str

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", **more}


def _shop(bench: Bench, folder: Path, spans: str, database_url: str) -> Shop:
    folder.mkdir()
    common = {"otlp_url": spans, "database_url": database_url}
    inside: dict[str, Process] = {}
    for name in ("users", "inventory", "catalog", "orders"):
        known = {f"{other}_address": process.address for other, process in inside.items()}
        inside[name] = bench.service(name, folder, **common, **known)
    known = {f"{other}_address": process.address for other, process in inside.items()}
    limits = {"client_rate_limit": UNLIMITED, "user_rate_limit": UNLIMITED, "sign_in_rate_limit": UNLIMITED}
    gateway = bench.service("gateway", folder, **common, **known, **limits, edge_cache_bytes=0)
    cached = bench.service("gateway", folder, **common, **known, **limits)
    limited = bench.service(
        "gateway", folder, **common, **known, **{**limits, "user_rate_limit": "1/day"}, edge_cache_bytes=0
    )
    response = httpx.post(f"{gateway.url}/v1/auth/token", data=SIGN_IN)
    response.raise_for_status()
    return Shop(gateway, cached, limited, inside, response.json()["access_token"])


def _comparisons(bench: Bench, folder: Path, postgres_url: str, only: str) -> list[Comparison]:
    spans = bench.start("collector").url
    third = bench.start("echo")
    second = bench.start("echo", next=third.address)
    first = bench.start("echo", next=second.address)
    bare = bench.start("bare_gateway", echo=third.address, chain=first.address)
    shop = _shop(bench, folder / "sqlite", spans, "")
    users, catalog = shop.inside["users"], shop.inside["catalog"]
    read = Contender(
        "GET a product from catalog",
        {"url": shop.gateway.url + PRODUCT, "headers": shop.headers()},
        [shop.gateway, catalog, users],
    )
    echoed = Contender("FastAPI -> echo", {"url": f"{bare.url}/echo/42"}, [bare, third])
    ready = Contender("FastAPI -> bytes", {"url": f"{bare.url}/bytes/42"}, [bare])
    cached = Contender(
        "GET a product from the cache", {"url": shop.cached.url + PRODUCT, "headers": shop.headers()}, [shop.cached]
    )
    etag = httpx.get(shop.cached.url + PRODUCT).headers["etag"]
    current = Contender(
        "GET a product, 304",
        {"url": shop.cached.url + PRODUCT, "headers": shop.headers(**{"If-None-Match": etag})},
        [shop.cached],
        "304",
    )
    httpx.get(shop.limited.url + PRODUCT, headers=shop.headers())  # the one that is let through
    refused = Contender(
        "GET a product, 429", {"url": shop.limited.url + PRODUCT, "headers": shop.headers()}, [shop.limited], "429"
    )
    chained = {"url": f"{bare.url}/chain", "method": "POST", "body": ORDER}
    found = [
        Comparison("read", read, echoed, {"rate": 0.6, "p99_ms": 1.5}),
        Comparison("cached", cached, ready, {"rate": 0.5}),
        Comparison("not modified", current, _again(ready), {"rate": 0.5}),
        Comparison("refused", refused, _again(read), {"cpu_us": 0.2}),
        Comparison("order, SQLite", _order(shop), _chain(chained, bare, first, second, third), {"rate": 0.5}),
    ]
    if postgres_url and only in ("", _ON_POSTGRESQL) and not listens(postgres_url):
        not_run(_ON_POSTGRESQL, postgres_url)
    elif postgres_url and only in ("", _ON_POSTGRESQL):
        other = _shop(bench, folder / "postgresql", spans, bench.databases(postgres_url))
        chain = _chain(chained, bare, first, second, third)
        found.append(Comparison(_ON_POSTGRESQL, _order(other), chain, {"rate": 0.5}))
    return [comparison for comparison in found if only in ("", comparison.name)]


def _again(contender: Contender) -> Contender:
    return Contender(contender.name, contender.job, contender.processes)


def _order(shop: Shop) -> Contender:
    job = {
        "url": f"{shop.gateway.url}/v1/orders",
        "method": "POST",
        "body": ORDER,
        "headers": shop.headers(**{"Idempotency-Key": "{n}"}),
    }
    return Contender("POST an order", job, [shop.gateway, *shop.inside.values()], "202")


def _chain(job: dict[str, Any], *processes: Process) -> Contender:
    return Contender("FastAPI -> A -> B -> S", job, processes)


def compare(bench: Bench, comparison: Comparison, rounds: int, seconds: float) -> None:
    """Measure both in turns, and alternate which of them is first."""
    for number in range(rounds + 1):
        turn = [comparison.floor, comparison.ours]
        for contender in turn if number % 2 else reversed(turn):
            result = bench.load.run(contender, seconds)
            if number:  # the first round warms up
                contender.runs.append(result)


def show(comparison: Comparison) -> bool:
    """Print a comparison; returns whether all its bars were held."""
    print(comparison.name)
    for contender in (comparison.ours, comparison.floor):
        figures = [contender.median(figure) for figure in ("rate", "p50_ms", "p99_ms", "cpu_us")]
        print(
            "  {:<28} {:>6.0f}/s  p50 {:>6.2f} ms  p99 {:>6.2f} ms  {:>6.0f} us of processor".format(
                contender.name, *figures
            ),
            contender.split(),
        )
    held = True
    for figure, bar in comparison.bars.items():
        kept = comparison.held(figure)
        held = held and kept
        print(f"    {figure} {comparison.ratio(figure):.2f}  bar {bar:g}: {'held' if kept else 'MISSED'}")
    if "cpu_us" not in comparison.bars:
        print(f"    processor {comparison.ratio('cpu_us'):.2f}")
    return held


def rendered(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Every run of every comparison, its ratios and its bars."""
    return {
        "machine": {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]},
        "comparisons": {
            each.name: {
                "ratios": {figure: each.ratio(figure) for figure in ("rate", "p50_ms", "p99_ms", "cpu_us")},
                "bars": each.bars,
                "runs": {contender.name: contender.runs for contender in (each.ours, each.floor)},
            }
            for each in comparisons
        },
    }


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/edge.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.edge", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each of two gets")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--only", default="", help="one comparison, by its name")
    parser.add_argument(
        "--postgres", default=os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")
    )
    arguments = parser.parse_args()
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-edge-") as folder:
        bench = Bench(stack, Path(folder))
        comparisons = _comparisons(bench, Path(folder), arguments.postgres, arguments.only)
        for comparison in comparisons:
            compare(bench, comparison, arguments.rounds, arguments.seconds)
        stack.close()
    held = [show(comparison) for comparison in comparisons]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "edge.json").write_text(json.dumps(rendered(comparisons), indent=2) + "\n")
    return 0 if all(held) else 1
