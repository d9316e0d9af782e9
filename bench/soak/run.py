"""`make soak`: six protocols together, with seeded kills, for minutes or hours; then the audit.

Orders, reads, GraphQL, uploads, webhooks, WebSockets and event streams, at 70 % of what the machine has been seen to
carry. Tables are compared with the beginning. Memory of the last third of the time is compared with the second: in the
first caches fill, and pages that a forked process shares with the supervisor become its own. Exit code 1: something was
lost, doubled or missed, answered 500, or grows: memory by over 10 % (in runs of five minutes or more), or a table
without a stated retention.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median

from bench.roles import clean_environment
from bench.shop import pss_mb
from bench.soak.clients import MIX, PRODUCTS, Crowd, internal_errors
from bench.stock import count_in
from chassis.settings import environment
from shop.audit import Settings, audit_running_shop
from shop.audit.report import Report, as_text
from shop.errors import Refused
from shop.fault.faults.grammar import parse
from shop.fault.faults.ground import Ground
from shop.fault.scenarios.own_shop import own_shop
from shop.process_table import TABLE, Scheme
from shop.supervisor import state
from shop.supervisor.keyring import load as keyring

_RESULTS = Path("build/soak")
_SHARE = 0.7
_CALIBRATION = 8.0
_LISTENERS = 2
_SETTLE = 120.0
_GROWTH = 1.10
# How often memory is measured: three times in each third.
_LOOKS = 9
_JUDGED_FROM = 300.0
_STATED = (
    ("services.catalog.sql_store", "RETENTION"),
    ("services.erp_adapter.modern_erp", "RETENTION"),
    ("services.inventory.sql_store.tables", "RETENTION"),
    ("services.mailer.sql_store", "RETENTION"),
    ("services.orders.sql_store", "RETENTION"),
    ("services.reports.sql_store.tables", "RETENTION"),
    ("services.storage.sql_store", "RETENTION"),
    ("services.users.sql_store", "RETENTION"),
    ("webhooks.incoming.sql_store", "RETENTION"),
    ("webhooks.outgoing.sql_store.tables", "RETENTION"),
    ("chassis.broker.embedded.store", "RETENTION"),
    ("partners.payment_provider.tables", "KEPT"),
    ("legacy_soap.tables", "KEPT"),
)
_PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the shop: proportional memory in MB by process, and rows by file and table."""

    processes_mb: Mapping[str, float]
    tables: Mapping[str, int]

    @classmethod
    def of(cls, data_dir: Path) -> Size:
        return cls(_processes_mb(data_dir), dict(_tables(data_dir)))


def _processes_mb(data_dir: Path) -> Mapping[str, float]:
    pids = {process.name: process.pid for process in state.read(data_dir) if process.pid is not None}
    return {name: size for name, pid in pids.items() if (size := pss_mb(pid)) is not None}


def _tables(data_dir: Path) -> list[tuple[str, int]]:
    found = []
    for file in sorted(data_dir.glob("*.sqlite")):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
            names = connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
            for (name,) in names.fetchall():
                (rows,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608 - its own names
                found.append((f"{file.stem}.{name}", rows))
    return found


def stated() -> set[str]:
    """Names of the tables whose retention is stated."""
    return {table for module, name in _STATED for table in getattr(import_module(module), name)}


def growing(before: Mapping[str, int], after: Mapping[str, int], known: set[str]) -> list[str]:
    """Tables that have more rows than before, and for which no retention is declared."""
    return [name for name, rows in after.items() if rows > before.get(name, 0) and name.partition(".")[2] not in known]


async def _kills(ground: Ground, every: float, seed: int, over: asyncio.Event) -> list[str]:
    """Kill a process now and then, until it is over; what was killed."""
    draw, killed = random.Random(seed), list[str]()  # noqa: S311 - repeatable kills
    names = [spec.name for spec in TABLE if spec.name != "console"]
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), draw.uniform(0.7, 1.3) * every)
        if over.is_set():
            return killed
        name = draw.choice(names)
        with suppress(Refused):  # it is being started again just now
            fault = parse(f"kill {name}", ground)
            await asyncio.to_thread(fault.begin)
            killed.append(name)
            await asyncio.to_thread(fault.end)


async def soak(env: Mapping[str, str], seconds: float, every: float, seed: int) -> int:
    """One run; prints its figures and returns the exit code."""
    ground = Ground.of(env)
    secret = keyring(ground.data_dir, TABLE).webhooks[Scheme.SHOPIFY.value]
    gateway, notifier, webhooks = (ground.env[f"SHOP_{name}_URL"] for name in ("GATEWAY", "NOTIFIER", "WEBHOOKS"))
    await count_in(_inventory(ground.data_dir), gateway, PRODUCTS)
    crowd = Crowd(gateway, notifier, webhooks, secret, seed)
    await crowd.open(_LISTENERS)
    try:
        capacity = await crowd.capacity(_CALIBRATION)
        rate = _SHARE * capacity
        _say(f"{capacity:.0f} operations a second at most, {rate:.0f} from now on for {seconds:g} s")
        await crowd.all_received(_SETTLE)
        crowd.forget()
        before, over = Size.of(ground.data_dir), asyncio.Event()
        killing = asyncio.create_task(_kills(ground, every, seed, over))
        looking = asyncio.create_task(_memory_during(ground.data_dir, seconds))
        await crowd.work(rate, seconds)
        over.set()
        killed, during = await killing, await looking
        await crowd.all_received(_SETTLE)
    finally:
        await crowd.close()
    with environment({**os.environ, **ground.env}):
        settings = Settings()
    report = await audit_running_shop(settings, wait=_SETTLE)
    _figures(crowd, killed)
    return _judge(crowd, report, before, during, Size.of(ground.data_dir), seconds)


def _inventory(data_dir: Path) -> str:
    """host:port of its gRPC API, past the lab's links."""
    ports = next(process.ports for process in state.read(data_dir) if process.name == "inventory")
    return f"127.0.0.1:{ports['SHOP_INVENTORY_PORT']}"


async def _memory_during(data_dir: Path, seconds: float) -> list[Mapping[str, float]]:
    """Megabytes by process, at the end of each ninth of the time."""
    looks = []
    for _ in range(_LOOKS):
        await asyncio.sleep(seconds / _LOOKS)
        looks.append(_processes_mb(data_dir))
    return looks


def _figures(crowd: Crowd, killed: Sequence[str]) -> None:
    _RESULTS.mkdir(parents=True, exist_ok=True)
    _say(f"killed: {', '.join(killed) or 'none'}")
    _say(
        f"{'':<10} {'done':>7} "
        + " ".join(f"{f'p{each:g}' if each < 100 else 'max':>8}" for each in _PERCENTILES)
        + "  ms"
    )
    for name, tally in crowd.tallies.items():
        times = tally.latencies
        shown = " ".join(f"{times.get_value_at_percentile(each) / 1000:8.1f}" for each in _PERCENTILES)
        failed = ", ".join(f"{count} x {what}" for what, count in tally.failures.most_common())
        _say(f"{name:<10} {tally.done:>7} {shown}  {failed}")
        with (_RESULTS / f"{name}.hgrm").open("wb") as file:
            times.output_percentile_distribution(file, 1000.0)


def settled(looks: Sequence[Mapping[str, float]], first: int, last: int) -> float:
    """Megabytes of all processes between two looks: of each its median, as one may have been killed a moment ago."""
    names = {name for each in looks for name in each}
    return sum(median([each[name] for each in looks[first:last] if name in each] or [0.0]) for name in names)


def _judge(
    crowd: Crowd, report: Report, before: Size, during: Sequence[Mapping[str, float]], after: Size, seconds: float
) -> int:
    second, third = settled(during, _LOOKS // 3, _LOOKS * 2 // 3), settled(during, _LOOKS * 2 // 3, _LOOKS)
    growth = third / second if second else 1.0
    _say(f"memory {second:.0f} MB in the second third of the time, {third:.0f} MB in the last; at the start and then:")
    for name in sorted(before.processes_mb):
        _say(f"  {name:<17}" + " ".join(f"{each.get(name, 0.0):6.1f}" for each in (before.processes_mb, *during)))
    _say(f"  {'all':<17}" + " ".join(f"{sum(each.values()):6.1f}" for each in (before.processes_mb, *during)))
    for name, rows in after.tables.items():
        if rows != before.tables.get(name, 0):
            _say(f"  {name}: {before.tables.get(name, 0)} -> {rows} rows")
    _say(as_text(report))
    if not second:
        _say("NOT MEASURED: memory, no /proc")
    elif seconds < _JUDGED_FROM:
        _say(f"NOT JUDGED: memory, in less than {_JUDGED_FROM:g} s")
    unread = [name for name, tally in crowd.tallies.items() if not tally.done]
    problems = [
        (report.exit_code != 0, "the audit finds something wrong"),
        (crowd.missed(), f"{crowd.missed()} orders of which a listener has received nothing"),
        (crowd.twice(), f"{crowd.twice()} events were received twice"),
        (internal_errors(crowd.tallies.values()), "something was answered 500"),
        (unread, f"nothing was measured of {', '.join(unread)}"),
        (seconds >= _JUDGED_FROM and growth > _GROWTH, f"memory grew by {growth - 1:.0%}"),
        (
            tables := growing(before.tables, after.tables, stated()),
            f"tables grow without a retention: {', '.join(tables)}",
        ),
    ]
    found = [problem for there, problem in problems if there]
    for problem in found:
        _say(f"PROBLEM {problem}")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Parse, start a shop, and run."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kill-every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    _say(f"seed {given.seed}; of a hundred operations: {', '.join(f'{count} {name}' for name, count in MIX.items())}")
    plenty = {
        "SHOP_CLIENT_RATE_LIMIT": "10000000/minute",
        "SHOP_USER_RATE_LIMIT": "10000000/minute",
        "SHOP_MAIL_KEEP": "10000000",  # the audit looks for the mails of each order
    }
    _RESULTS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with own_shop(clean_environment(**plenty), _RESULTS / "shop.log") as env:
        code = asyncio.run(soak(env, given.minutes * 60, given.kill_every, given.seed))
    _say(f"{'PROBLEMS' if code else 'fine'} after {time.monotonic() - began:.0f} s")
    return code
