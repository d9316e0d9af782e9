"""`make bench-orders`: orders a second from accepted to shipped, on the embedded default and on RabbitMQ + PostgreSQL.

On each engine: a closed loop for what it can take, an open loop at 70 % of that (or at `--rate`) for what an order
waits, one at the bar's rate where that is within reach, and the newest orders and reads beside a thousand orders that
wait. Then shorter runs that count: processor samples (py-spy) and fsyncs (strace). Everything shares this machine's
cores with the load. Every trace is recorded; `--sampling` records a part of them, and the bar is 60 orders a second
then, not 40. Rates say little on a busy machine; the processor time of an order does, and so does what it is beside its
floor: the same hops done bare. As in production, messages are not captured. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.orders import engines, load
from bench.orders import waiting as orders_waiting
from bench.orders.accounting import sampled, syncs_counted
from bench.orders.engines import Engine, Spent
from bench.orders.floor import floor_ms
from bench.orders.result import COUNTING_RATE, SAMPLED_BAR_PER_S, SHIPPED_BAR_PER_S, Kept, Result
from bench.orders.statements import statements_by_process
from bench.roles import not_run
from bench.shop import RunningShop, fresh_shop
from shop.started_shop import unwound_by_signals

WARMING = 5.0
# Until the ERP was sent the stock that is counted in before: that is no part of an idle shop.
SETTLING = 5.0
IDLE = 5.0
SHARE = 0.7
WAITING = 1_000
# Seconds at least of a run that counts; and those after which PostgreSQL's sessions have reported their statistics.
MIN_COUNTING = 5.0
COUNTS_SECONDS = 2.0
POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432"
RABBITMQ_URL = "amqp://guest:guest@127.0.0.1:5672/"

Loop = Callable[[load.Customer, load.Run], Awaitable[None]]


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

    async def idle_ms(self) -> dict[str, float]:
        """The cost of a shop without requests, a second by process, the largest first."""
        before = await self.spent()
        await asyncio.sleep(IDLE)
        spent = _since(before, await self.spent())
        return {name: spent[name] * 1000 / IDLE for name in sorted(spent, key=spent.__getitem__, reverse=True)}

    async def hops(self, orders: Sequence[load.Placed], syncs: float) -> dict[str, int]:
        """The exchanges of each kind in the newest recorded trace of these orders, counted, and its commits.

        Empty where none of their traces was recorded: under another load, an order has other hops.
        """
        spans = await newest_trace(self.shop.url("console"), orders)
        if not spans:
            return {}
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


async def newest_trace(console: str, orders: Sequence[load.Placed]) -> list[dict[str, Any]]:
    """The spans of the newest of these orders whose trace was recorded: with sampling, most were not."""
    async with aiohttp.ClientSession(console) as http:
        for order in reversed(orders):
            async with http.get("/api/traces", params={"order_id": order.id}) as response:
                found = (await response.json())["items"]
            if found:
                async with http.get(f"/api/traces/{found[0]['trace_id']}") as response:
                    spans: list[dict[str, Any]] = (await response.json())["spans"]
                    return spans
    return []


def _since(before: tuple[dict[str, float], Spent], after: tuple[dict[str, float], Spent]) -> dict[str, float]:
    """Seconds of processor time in between by name."""
    return {name: spent - before[0].get(name, 0.0) for name, spent in after[0].items()} | after[1].since(before[1])


async def measure(shop: RunningShop, engine: Engine, arguments: argparse.Namespace) -> Result:
    """All runs on one engine."""
    async with load.customer_of(shop) as customer:
        measured = Measured(shop, engine, customer)
        await asyncio.sleep(SETTLING)
        idle = await measured.idle_ms()
        await measured.run(WARMING, _open_loop(COUNTING_RATE))
        capacity = await measured.run(arguments.seconds, partial(load.closed, connections=arguments.connections))
        rate = arguments.rate or SHARE * capacity.figures()["until_all_shipped_per_s"]
        broker = engine.broker(shop.env["SHOP_DATA_DIR"])
        began = await engines.position(broker)
        steady = await measured.run(arguments.seconds, _open_loop(rate))
        traffic = await engines.traffic(broker, began)
        at_bar, bar = None, SHIPPED_BAR_PER_S if arguments.sampling >= 1 else SAMPLED_BAR_PER_S
        if capacity.figures()["until_all_shipped_per_s"] >= bar:
            at_bar = (await measured.run(arguments.seconds, _open_loop(bar))).figures()
        cpu_ms = {"closed loop": capacity.cpu_ms(), "open loop": steady.cpu_ms()}
        result = Result(engine.name, capacity.figures(), steady.figures(), at_bar, rate, cpu_ms, idle, bar)
        result.broker_bytes = traffic.size / len(steady.orders)
        result.events = {name: number / len(steady.orders) for name, number in traffic.types.most_common()}
        if arguments.waiting:
            result.waiting = await orders_waiting.measured(customer, shop.pids()["order_worker"], arguments.waiting)
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
    result.hops = await measured.hops(run.orders, sum(result.transactions.values()))


def _each(before: Mapping[str, int], after: Mapping[str, int], orders: int) -> dict[str, float]:
    """The counts divided by the number of orders, the largest first."""
    found = {name: (count - before.get(name, 0)) / orders for name, count in after.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


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


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/orders.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.orders", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each loop")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="orders a second of the open loop; 0: 70 %% of capacity"
    )
    parser.add_argument("--connections", type=int, default=load.CONNECTIONS, help="of the closed loop")
    parser.add_argument("--waiting", type=int, default=WAITING, help="orders that wait beside the newest; 0: none")
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
