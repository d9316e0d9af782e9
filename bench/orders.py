"""`make bench-orders`: orders a second from accepted to shipped, on the embedded default and on RabbitMQ + PostgreSQL.

On each engine: a closed loop for what it can take, an open loop at 70 % of that (or at `--rate`) for what an order
waits, one at 40 a second where that is within reach, then shorter runs that count: processor samples (py-spy) and
fsyncs (strace). Everything shares this machine's cores with the load, every trace is recorded. Rates say little on a
busy machine; the processor time of an order does, and so does what it is beside its floor: the same hops done bare. As
in production, messages are not captured. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import uvloop

from bench import orders_engines as engines
from bench import orders_load as load
from bench.orders_accounting import sampled, syncs_counted
from bench.orders_engines import Engine, Spent
from bench.orders_floor import floor_ms
from bench.orders_statements import statements_by_process
from bench.roles import not_run
from bench.shop import RunningShop, fresh_shop
from shop.started_shop import unwound_by_signals

RESULTS = Path(__file__).parent / "results"
WARMING = 5.0
IDLE = 5.0
SHARE = 0.7
# Orders a second, and seconds at least, where what is counted stops the processes; and the seconds after which
# PostgreSQL's sessions have reported their statistics.
COUNTING_RATE = 4.0
MIN_COUNTING = 5.0
COUNTS_SECONDS = 2.0
POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432"
RABBITMQ_URL = "amqp://guest:guest@127.0.0.1:5672/"

SHIPPED_BAR_PER_S = 40.0
# After a stretch at that rate: an order waits for more than a second for its payment.
DRAINED_BAR_S = 5.0
FLOOR_BAR = 2.0
ACCEPTED_BAR_MS = 250.0
PAID_TO_SHIPPED_BAR_MS = 1_000.0

Loop = Callable[[load.Customer, load.Run], Awaitable[None]]


@dataclass
class Result:
    """The results of one engine. Processor times are milliseconds of an order."""

    engine: str
    capacity: dict[str, float]
    steady: dict[str, float]
    # At the bar's rate; none where the closed loop shows that this engine does not reach it.
    at_bar: dict[str, float] | None
    rate: float
    cpu_ms: dict[str, dict[str, float]]
    idle_ms_per_s: float
    kinds_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    syncs: dict[str, float] = field(default_factory=dict)
    transactions: dict[str, float] = field(default_factory=dict)
    # By each process's own count, and by PostgreSQL's for each service.
    statements: dict[str, float] = field(default_factory=dict)
    statements_there: dict[str, float] | None = None
    broker_bytes: float = 0.0
    events: dict[str, float] = field(default_factory=dict)
    hops: dict[str, int] = field(default_factory=dict)
    floor_ms: dict[str, float] = field(default_factory=dict)
    # Whether PostgreSQL's part is in all of it.
    floor_counted: bool = True

    @property
    def floor(self) -> float:
        return sum(self.floor_ms[name] * count for name, count in self.hops.items())

    @property
    def ours(self) -> float:
        """Processor time without the broker's server, which others may use: it is in neither side of the ratio."""
        return sum(ms for name, ms in self.cpu_ms["open loop"].items() if not name.startswith("rabbitmq"))

    @property
    def sustained(self) -> float:
        """The bar's rate, if orders were placed at it and none was left waiting; else what was shipped."""
        run = self.at_bar
        if run is None:
            return self.capacity["until_all_shipped_per_s"]
        late = run["refused"] or run["drained_s"] > DRAINED_BAR_S
        return run["shipped_per_s"] if late else SHIPPED_BAR_PER_S

    @property
    def sessions_counted(self) -> bool:
        """Whether PostgreSQL's part is in the processor time, and in the floor."""
        return self.engine != engines.SERVERS or (self.floor_counted and "postgresql" in self.cpu_ms["open loop"])

    def bars(self) -> list[tuple[str, float, float, bool | None]]:
        """Name, figure, bar, and whether it is held; None where that cannot be judged."""
        ratio = self.ours / self.floor
        accepted, paid = self.steady["accepted_p99_ms"], self.steady["paid_to_shipped_p99_ms"]
        # Percentiles are of the orders that were accepted: those that were refused waited for ever.
        none_refused = not self.steady["refused"]
        cheap = ratio <= FLOOR_BAR if self.sessions_counted else None
        return [
            ("shipped a second, sustained", self.sustained, SHIPPED_BAR_PER_S, self.sustained >= SHIPPED_BAR_PER_S),
            ("processor time, of the floor's", ratio, FLOOR_BAR, cheap),
            ("accepted, p99 ms", accepted, ACCEPTED_BAR_MS, none_refused and accepted <= ACCEPTED_BAR_MS),
            ("paid to shipped, p99 ms", paid, PAID_TO_SHIPPED_BAR_MS, none_refused and paid <= PAID_TO_SHIPPED_BAR_MS),
        ]


class Measured:
    """One shop under load."""

    def __init__(self, shop: RunningShop, engine: Engine, customer: load.Customer) -> None:
        self.shop = shop
        self.engine = engine
        self._customer = customer

    async def spent(self) -> tuple[dict[str, float], Spent]:
        """Seconds of processor time so far, of the shop's processes by name and of the servers."""
        return load.cpu(self.shop), await self.engine.spent()

    async def run(self, seconds: float, loop: Loop, around: AbstractContextManager[None] | None = None) -> load.Run:
        """A stretch of load, from its first order until its last one has shipped."""
        before = await self.spent()
        run = load.Run(seconds, began=time.time())
        with around or nullcontext():
            await loop(self._customer, run)
            await self._customer.wait_until_shipped(load.last_of(run.orders))
        run.cpu = _since(before, await self.spent())
        await self._customer.read_all(run.orders)
        run.drained = max((order.shipped for order in run.orders), default=0.0)
        return run

    async def idle_ms_per_s(self) -> float:
        """The cost of a shop without requests."""
        before = await self.spent()
        await asyncio.sleep(IDLE)
        return sum(_since(before, await self.spent()).values()) * 1000 / IDLE

    async def hops(self, order_id: str, syncs: float) -> dict[str, int]:
        """The exchanges of each kind that one order's trace shows, and its commits."""
        async with aiohttp.ClientSession(self.shop.url("console")) as http:
            async with http.get("/api/traces", params={"order_id": order_id}) as response:
                trace_id = (await response.json())["items"][0]["trace_id"]
            async with http.get(f"/api/traces/{trace_id}") as response:
                spans = (await response.json())["spans"]
        kinds = Counter(str(span["kind"]).lower() for span in spans)
        calls = Counter(span["protocol"] for span in spans if str(span["kind"]).lower() == "client")
        # The broker's own writes are in the publishes and consumes.
        publishes, consumes = kinds["producer"], kinds["consumer"]
        durable = publishes + consumes if not self.engine.postgres else 0
        return {
            "gRPC call": calls["gRPC"],
            "HTTP exchange": 1 + calls["HTTP"] + calls["webhook"],
            "SOAP exchange": calls["SOAP"],
            "SMTP exchange": calls["SMTP"],
            "publish": publishes,
            "consume": consumes,
            "commit": max(0, round(syncs) - durable),
        }


def _since(before: tuple[dict[str, float], Spent], after: tuple[dict[str, float], Spent]) -> dict[str, float]:
    """Seconds of processor time in between by name."""
    return {name: spent - before[0].get(name, 0.0) for name, spent in after[0].items()} | after[1].since(before[1])


async def measure(shop: RunningShop, engine: Engine, arguments: argparse.Namespace) -> Result:
    """All runs on one engine."""
    async with load.customer_of(shop) as customer:
        measured = Measured(shop, engine, customer)
        idle = await measured.idle_ms_per_s()
        await measured.run(WARMING, _open_loop(COUNTING_RATE))
        capacity = await measured.run(arguments.seconds, partial(load.closed, connections=arguments.connections))
        rate = arguments.rate or SHARE * capacity.figures()["until_all_shipped_per_s"]
        broker = engine.broker(shop.env["SHOP_DATA_DIR"])
        began = await engines.position(broker)
        steady = await measured.run(arguments.seconds, _open_loop(rate))
        traffic = await engines.traffic(broker, began)
        at_bar = None
        if capacity.figures()["until_all_shipped_per_s"] >= SHIPPED_BAR_PER_S:
            at_bar = (await measured.run(arguments.seconds, _open_loop(SHIPPED_BAR_PER_S))).figures()
        cpu_ms = {"closed loop": capacity.cpu_ms(), "open loop": steady.cpu_ms()}
        result = Result(engine.name, capacity.figures(), steady.figures(), at_bar, rate, cpu_ms, idle)
        result.broker_bytes = traffic.size / len(steady.orders)
        result.events = {name: number / len(steady.orders) for name, number in traffic.types.most_common()}
        samples: dict[int, Counter[str]] = {}
        short = max(MIN_COUNTING, arguments.seconds / 4)
        await measured.run(short, _open_loop(rate), sampled(shop.supervisor, samples))
        result.kinds_ms = _kinds_ms(samples, shop.pids(), cpu_ms["open loop"])
        await _count(measured, result, short)
    with tempfile.TemporaryDirectory(prefix="bench-floor-") as folder:
        result.floor_ms, result.floor_counted = await floor_ms(engine, Path(folder))
    return result


def _open_loop(rate: float) -> Loop:
    return partial(load.opened, rate=rate)


async def _count(measured: Measured, result: Result, seconds: float) -> None:
    """Count the writes of an order, and the hops that its trace shows."""
    engine, syncs = measured.engine, Counter[str]()
    before = await engine.counts()
    run = await measured.run(seconds, _open_loop(COUNTING_RATE), syncs_counted(measured.shop.pids(), syncs))
    await asyncio.sleep(COUNTS_SECONDS)
    after = await engine.counts()
    orders = len(run.orders)
    result.syncs = {name: number / orders for name, number in syncs.most_common()}
    result.transactions = dict(result.syncs)
    if before and after:
        result.transactions = _each(before.commits, after.commits, orders)
        if before.syncs is not None and after.syncs is not None:
            result.syncs["postgresql (whole)"] = (after.syncs - before.syncs) / orders
        if before.statements is not None and after.statements is not None:
            result.statements_there = _each(before.statements, after.statements, orders)
    if after and after.statements is None:
        sys.stdout.write(f"{engine.name}: {engines.NO_STATEMENTS}\n")
    result.hops = await measured.hops(run.orders[-1].id, sum(result.transactions.values()))


def _each(before: Mapping[str, int], after: Mapping[str, int], orders: int) -> dict[str, float]:
    """The counts divided by the number of orders, the largest first."""
    found = {name: (count - before.get(name, 0)) / orders for name, count in after.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _total(counts: Mapping[str, float] | None) -> str:
    """The sum, and what it is made of."""
    if counts is None:
        return "not counted"
    split = ", ".join(f"{name} {number:.1f}" for name, number in counts.items() if number >= 0.05)
    return f"{sum(counts.values()):.1f} ({split})"


def _kinds_ms(
    samples: Mapping[int, Counter[str]], pids: Mapping[str, int], cpu_ms: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Each process's time for an order by kind of work, as its samples divide it."""
    found = {}
    for name, pid in pids.items():
        counts = samples.get(pid, Counter())
        total = counts.total()
        found[name] = {kind: cpu_ms[name] * count / total for kind, count in counts.most_common()}
    return found


def show(result: Result) -> bool:
    """Print one engine's figures; whether a bar was missed."""
    print(f"\n{result.engine}")
    stretches = [("closed loop", result.capacity), (f"open loop, {result.rate:.1f}/s", result.steady)]
    if result.at_bar is not None:
        stretches.append((f"open loop, {SHIPPED_BAR_PER_S:g}/s", result.at_bar))
    for title, run in stretches:
        print(
            f"  {title}: {run['orders']:.0f} orders, {run['refused']:.0f} refused; "
            f"{run['accepted_per_s']:.1f} accepted/s, {run['shipped_per_s']:.1f} shipped/s "
            f"({run['until_all_shipped_per_s']:.1f}/s until the last one was)"
        )
        for name in ("accepted", "accepted_to_shipped", "paid_to_shipped"):
            words = name.replace("_", " ")
            print(f"    {words:<22} p50 {run[f'{name}_p50_ms']:>8.0f} ms   p99 {run[f'{name}_p99_ms']:>8.0f} ms")
    opened = result.cpu_ms["open loop"]
    print(
        f"  processor time of an order: {sum(opened.values()):.1f} ms, closed loop {result.capacity['cpu_ms']:.1f} ms"
    )
    print(f"  (idle: {result.idle_ms_per_s:.0f} ms a second)")
    if not result.sessions_counted:
        print(f"  {engines.NO_SESSIONS}")
    for name, ms in opened.items():
        split = ", ".join(f"{kind} {part:.1f}" for kind, part in result.kinds_ms.get(name, {}).items() if part >= 0.05)
        print(f"    {name:<18} {ms:>6.2f}  {split}")
    kinds: dict[str, float] = {}
    for each in result.kinds_ms.values():
        kinds |= {kind: kinds.get(kind, 0.0) + ms for kind, ms in each.items()}
    by_size = sorted(kinds.items(), key=lambda item: -item[1])
    print("  by kind of work:", ", ".join(f"{kind} {ms:.1f}" for kind, ms in by_size) or "not sampled")
    print(f"  what follows was counted at {COUNTING_RATE:g} orders a second, with what an idle shop does in that time")
    print(f"  fsyncs: {', '.join(f'{name} {number:.1f}' for name, number in result.syncs.items()) or 'not counted'}")
    reads = ", every read is one to PostgreSQL" if result.engine == engines.SERVERS else ""
    print(f"  transactions{reads}: {_total(result.transactions)}")
    print(f"  statements: {_total(result.statements)}")
    if result.engine == engines.SERVERS:
        print(f"  statements by PostgreSQL's count: {_total(result.statements_there)}")
    print(f"  on the broker: {result.broker_bytes:.0f} bytes; ", end="")
    print(", ".join(f"{name} {number:.1f}" for name, number in result.events.items()))
    parts = (f"{count} {name} x {result.floor_ms[name]:.2f}" for name, count in result.hops.items())
    print(f"  floor {result.floor:.1f} ms: {', '.join(parts)}")
    for what, figure, bar, held in result.bars():
        verdict = "NOT JUDGED" if held is None else "held" if held else "MISSED"
        print(f"  {what:<32} {figure:>8.2f}  bar {bar:g}: {verdict}")
    return any(held is False for *_, held in result.bars())


@dataclass
class Kept:
    """The results so far, printed and written one by one: another engine's failure does not take them away."""

    results: list[Result] = field(default_factory=list)
    missed: bool = False

    def add(self, result: Result) -> None:
        self.results.append(result)
        machine = {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]}
        RESULTS.mkdir(exist_ok=True)
        report = {"machine": machine, "engines": [{**asdict(each), "floor": each.floor} for each in self.results]}
        (RESULTS / "orders.json").write_text(json.dumps(report, indent=2) + "\n")
        self.missed |= show(result)


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/orders.json`, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each loop")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="orders a second of the open loop; 0: 70 %% of capacity"
    )
    parser.add_argument("--connections", type=int, default=load.CONNECTIONS, help="of the closed loop")
    parser.add_argument("--only", choices=("embedded", "servers"), help="one engine")
    parser.add_argument("--sampling", type=float, default=1.0, help="share of the traces that are recorded")
    parser.add_argument("--capture", action="store_true", help="capture messages, too, as development does")
    parser.add_argument("--postgres", default=os.environ.get("TEST_POSTGRES_URL", POSTGRES_URL))
    parser.add_argument("--rabbitmq", default=os.environ.get("TEST_RABBITMQ_URL", RABBITMQ_URL))
    arguments = parser.parse_args()
    kept = Kept()
    if arguments.only != "servers":
        kept.add(_on(engines.embedded(), arguments))
    if arguments.only != "embedded":
        with engines.servers(arguments.postgres, arguments.rabbitmq) as engine:
            if engine is None:
                not_run(engines.SERVERS, arguments.postgres, arguments.rabbitmq)
            else:
                kept.add(_on(engine, arguments))
    print(f"\non {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} over the last minute")
    return 1 if kept.missed else 0


def _on(engine: Engine, arguments: argparse.Namespace) -> Result:
    recorded = {"SHOP_TRACE_SAMPLE_RATIO": str(arguments.sampling), "SHOP_CAPTURE": str(arguments.capture).lower()}
    settings = {**recorded, **engine.settings}
    with fresh_shop(**settings) as shop:
        result = uvloop.run(measure(shop, engine, arguments))
    seconds = max(MIN_COUNTING, arguments.seconds / 4)
    result.statements = statements_by_process(settings, rate=COUNTING_RATE, seconds=seconds)
    return result


if __name__ == "__main__":
    sys.exit(main())
