"""The results of `bench.orders` on an engine: their bars, how they are printed, and the file that keeps them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from bench.orders import engines
from bench.orders.waiting import Waiting
from bench.roles import RESULTS

# Orders a second where every trace is recorded, and where a part of them is.
SHIPPED_BAR_PER_S = 40.0
SAMPLED_BAR_PER_S = 60.0
# After a stretch at that rate: an order waits for more than a second for its payment.
DRAINED_BAR_S = 5.0
FLOOR_BAR = 2.0
ACCEPTED_BAR_MS = 250.0
PAID_TO_SHIPPED_BAR_MS = 1_000.0
# What the p99 of a read beside waiting orders may be, of that at rest: they differ by less when nothing has changed.
READS_BAR = 1.5
# Orders a second at which fsyncs, transactions, statements and hops are counted: counting them stops the processes.
COUNTING_RATE = 4.0


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
    # By process, milliseconds a second of a shop without requests.
    idle_ms: dict[str, float]
    shipped_bar: float = SHIPPED_BAR_PER_S
    waiting: Waiting | None = None
    kinds_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    syncs: dict[str, float] = field(default_factory=dict)
    transactions: dict[str, float] = field(default_factory=dict)
    # By each process's own count, and by PostgreSQL's for each service.
    statements: dict[str, float] = field(default_factory=dict)
    statements_there: dict[str, float] | None = None
    broker_bytes: float = 0.0
    events: dict[str, float] = field(default_factory=dict)
    # Empty where no trace was recorded.
    hops: dict[str, int] = field(default_factory=dict)
    floor_ms: dict[str, float] = field(default_factory=dict)
    # Whether PostgreSQL's part is in all of it.
    floor_counted: bool = True

    @property
    def floor(self) -> float:
        return sum(self.floor_ms[name] * count for name, count in self.hops.items())

    @property
    def ours(self) -> float:
        """Without the broker's server, which others may use: it is in neither side of the ratio."""
        return sum(ms for name, ms in self.cpu_ms["open loop"].items() if not name.startswith("rabbitmq"))

    @property
    def sustained(self) -> float:
        """The bar's rate, where orders were placed at it and none was left waiting; else what was shipped."""
        run = self.at_bar
        if run is None:
            return self.capacity["until_all_shipped_per_s"]
        late = run["refused"] or run["drained_s"] > DRAINED_BAR_S
        return run["shipped_per_s"] if late else self.shipped_bar

    @property
    def sessions_counted(self) -> bool:
        """Whether PostgreSQL's part is in the processor time, and in the floor."""
        return self.engine != engines.SERVERS or (self.floor_counted and "postgresql" in self.cpu_ms["open loop"])

    def bars(self) -> list[tuple[str, float, float, bool | None]]:
        """Name, figure, bar, and whether it is held; None where that cannot be judged."""
        ratio = self.ours / self.floor if self.hops else math.nan
        accepted, paid = self.steady["accepted_p99_ms"], self.steady["paid_to_shipped_p99_ms"]
        # Percentiles are of the orders that were accepted: those that were refused waited for ever.
        none_refused = not self.steady["refused"]
        cheap = ratio <= FLOOR_BAR if self.sessions_counted and self.hops else None
        bars: list[tuple[str, float, float, bool | None]] = [
            ("shipped a second, sustained", self.sustained, self.shipped_bar, self.sustained >= self.shipped_bar),
            ("processor time, of the floor's", ratio, FLOOR_BAR, cheap),
            ("accepted, p99 ms", accepted, ACCEPTED_BAR_MS, none_refused and accepted <= ACCEPTED_BAR_MS),
            ("paid to shipped, p99 ms", paid, PAID_TO_SHIPPED_BAR_MS, none_refused and paid <= PAID_TO_SHIPPED_BAR_MS),
        ]
        if self.waiting is not None:
            newest, reads = self.waiting.stopped.figures["accepted_p99_ms"], self.waiting.reads_of_rest
            in_time = not self.waiting.refused and newest <= ACCEPTED_BAR_MS
            bars += [
                ("accepted, others waiting, p99 ms", newest, ACCEPTED_BAR_MS, in_time),
                ("reads then, p99 of that at rest", reads, READS_BAR, reads <= READS_BAR),
            ]
        return bars


def show(result: Result) -> bool:
    """Print one engine's figures; whether a bar was missed."""
    print(f"\n{result.engine}")
    _show_stretches(result)
    if result.waiting is not None:
        _show_waiting(result.waiting)
    _show_processor_time(result)
    _show_counts(result)
    for what, figure, bar, held in result.bars():
        verdict = "NOT JUDGED" if held is None else "held" if held else "MISSED"
        print(f"  {what:<32} {figure:>8.2f}  bar {bar:g}: {verdict}")
    return any(held is False for *_, held in result.bars())


def _show_stretches(result: Result) -> None:
    stretches = [("closed loop", result.capacity), (f"open loop, {result.rate:.1f}/s", result.steady)]
    if result.at_bar is not None:
        stretches.append((f"open loop, {result.shipped_bar:g}/s", result.at_bar))
    for title, run in stretches:
        print(
            f"  {title}: {run['orders']:.0f} orders, {run['refused']:.0f} refused; "
            f"{run['accepted_per_s']:.1f} accepted/s, {run['shipped_per_s']:.1f} shipped/s "
            f"({run['until_all_shipped_per_s']:.1f}/s until the last one was)"
        )
        for name in ("accepted", "accepted_to_shipped", "paid_to_shipped"):
            words = name.replace("_", " ")
            print(f"    {words:<22} p50 {run[f'{name}_p50_ms']:>8.0f} ms   p99 {run[f'{name}_p99_ms']:>8.0f} ms")


def _show_waiting(waiting: Waiting) -> None:
    stages = {
        "at rest": waiting.at_rest,
        "order_worker stopped": waiting.stopped,
        "worked off, no bar": waiting.worked_off,
    }
    print(f"  the newest {waiting.newest} orders and reads beside those that wait; p50, p99 ms")
    for title, stage in stages.items():
        parts = (
            f"{name.replace('_', ' ')} {stage.figures[f'{name}_p50_ms']:.1f}, {stage.figures[f'{name}_p99_ms']:.1f}"
            for name in ("accepted", "product", "order")
        )
        print(f"    {title:<22} {stage.left:>6} wait at its end, {stage.refused} refused; {'; '.join(parts)}")


def _show_processor_time(result: Result) -> None:
    opened = result.cpu_ms["open loop"]
    print(
        f"  processor time of an order: {sum(opened.values()):.1f} ms, closed loop {result.capacity['cpu_ms']:.1f} ms"
    )
    idle = sum(result.idle_ms.values())
    print(f"  an idle shop, ms a second: {_total(result.idle_ms)}")
    print(f"    at {result.rate:.1f}/s that is {idle / result.rate:.1f} ms of each order's, and not taken off them")
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
    if kinds:
        print("    by the threads that hold the interpreter: the time of gRPC's own threads, which never do, is spread")
        print("    over all kinds and not in calls alone; PostgreSQL and RabbitMQ have no kind")


def _show_counts(result: Result) -> None:
    print(f"  what follows was counted at {COUNTING_RATE:g} orders a second, with what an idle shop does in that time")
    print(f"  fsyncs: {', '.join(f'{name} {number:.1f}' for name, number in result.syncs.items()) or 'not counted'}")
    on_servers = result.engine == engines.SERVERS
    if on_servers:
        print("    RabbitMQ's own, of its queues and of the event log, are NOT COUNTED")
    reads = ", every read is one to PostgreSQL" if on_servers else ""
    print(f"  transactions{reads}: {_total(result.transactions)}")
    print(f"  statements: {_total(result.statements)}")
    if on_servers:
        print(f"  statements by PostgreSQL's count: {_total(result.statements_there)}")
    print(f"  on the broker: {result.broker_bytes:.0f} bytes; ", end="")
    print(", ".join(f"{name} {number:.1f}" for name, number in result.events.items()))
    parts = (f"{count} {name} x {result.floor_ms[name]:.2f}" for name, count in result.hops.items())
    not_counted = "NOT COUNTED: no trace of these orders was recorded"
    floor = f"{result.floor:.1f} ms: {', '.join(parts)}" if result.hops else not_counted
    print(f"  floor {floor}")


def _total(counts: Mapping[str, float] | None) -> str:
    """The sum, and what it is made of."""
    if counts is None:
        return "not counted"
    split = ", ".join(f"{name} {number:.1f}" for name, number in counts.items() if number >= 0.05)
    return f"{sum(counts.values()):.1f} ({split})"


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
