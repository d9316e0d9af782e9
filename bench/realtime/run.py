"""`make bench-realtime`: one event to many connections, against writing one frame to as many bare transports.

Bars: 60 % of the floor's deliveries a second, p99 from publish to receipt at most twice the floor's, SSE at half of
WebSocket's rate or more, 20 KiB for an idle connection. Server, floor and publisher are processes of their own, the
clients are this one; floor and servers are measured in turns, and what is compared is of the same turn. The CPU time
that a server needs for a delivery stands beside it, since the clients may be what is slowest. Exit code 1 when a bar is
missed, 2 where nothing can be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.realtime.crowd import Crowd, crowd, event_stream, missing, silence, websocket
from bench.realtime.roles import an_event
from bench.roles import RESULTS, Role, allow_open_files, cpu_seconds, free_port, role, serving
from chassis.broker.event_log import LogEntry, Position
from services.notifier.frames import Frame, Notice
from shop.started_shop import unwound_by_signals

ROLES = "bench.realtime.roles"
RATE_BAR = 0.6
SSE_BAR = 0.5
P99_BAR = 2.0
IDLE_BAR_KIB = 20.0
_PAUSE = 0.05


@dataclass
class Contender:
    """The parts of a measurement: a crowd, what triggers deliveries to it, and an event's bytes for each."""

    crowd: Crowd
    pid: int
    trigger: Role
    size: Callable[[int], int]
    position: int = 0
    # Of each turn.
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def deliver(self, count: int) -> tuple[float, list[float]]:
        """Deliver `count` events to every connection: when that began, and when each connection had all of them."""
        expected = sum(self.size(self.position + each) for each in range(1, count + 1))
        self.position += count
        self.trigger.send(count)
        moments = self.crowd.receive(expected)
        return float(self.trigger.receive()), moments

    def turn(self, events: int, singles: int) -> None:
        """Events in a row for the rate, then some one by one for the latency from publish to receipt."""
        cpu = cpu_seconds(self.pid)
        began, moments = self.deliver(events)
        deliveries = events * len(self.crowd)
        self.rates.append(deliveries / (max(moments) - began))
        self.cpu_us.append((cpu_seconds(self.pid) - cpu) / deliveries * 1e6)
        latencies: list[float] = []
        for _ in range(singles):
            time.sleep(_PAUSE)
            began, moments = self.deliver(1)
            latencies += [(moment - began) * 1000 for moment in moments]
        percentiles = statistics.quantiles(latencies, n=100)
        self.p50_ms.append(percentiles[49])
        self.p99_ms.append(percentiles[98])

    def forget(self) -> None:
        """The first turn warms up."""
        for each in (self.rates, self.cpu_us, self.p50_ms, self.p99_ms):
            each.clear()


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/realtime.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.realtime", description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--idle", type=int, default=5_000, help="connections that nothing is sent to")
    parser.add_argument("--rounds", type=int, default=12, help="turns that each gets")
    parser.add_argument("--events", type=int, default=40, help="events in a turn, for the rate")
    parser.add_argument("--singles", type=int, default=10, help="single events in a turn, for the latency")
    arguments = parser.parse_args()
    if reason := missing():
        print(f"bench-realtime: nothing was measured: {reason}")
        return 2
    allow_open_files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-realtime-")))
        users_port, token = stack.enter_context(role(ROLES, "identity")).receive().split()
        idle_kib = _idle_kib(folder / "idle", users_port, token, arguments.idle)
        contenders = _contenders(stack, folder, users_port, token, arguments.connections)
        _measure(contenders, arguments.rounds, arguments.events, arguments.singles)
    result = _result(contenders, idle_kib)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "realtime.json").write_text(json.dumps(result, indent=2) + "\n")
    return _print(contenders, result)


def _contenders(stack: ExitStack, folder: Path, users_port: str, token: str, count: int) -> dict[str, Contender]:
    frame = _frame(1).websocket
    (folder / "frame").write_bytes(frame)
    floor = stack.enter_context(role(ROLES, "floor", str(folder / "frame")))
    bare = stack.enter_context(crowd(count, int(floor.receive()), silence))
    found = {"floor": Contender(bare, floor.pid, floor, lambda _: len(frame))}
    for name, greet, size in (
        ("websocket", websocket(token), event_size),
        ("sse", event_stream(token), lambda position: len(_frame(position).event_stream_chunk)),
    ):
        port, pid = stack.enter_context(notifier(folder / name, users_port))
        publisher = stack.enter_context(role(ROLES, "publisher", f"embedded:{folder / name / 'broker.sqlite'}"))
        publisher.receive()
        found[name] = Contender(stack.enter_context(crowd(count, port, greet)), pid, publisher, size)
    return found


def _measure(contenders: dict[str, Contender], rounds: int, events: int, singles: int) -> None:
    for number in range(rounds + 1):
        for contender in contenders.values():
            contender.turn(events, singles)
            if not number:
                contender.forget()


def _result(contenders: dict[str, Contender], idle_kib: float) -> dict[str, object]:
    floor, ours, sse = (contenders[name] for name in ("floor", "websocket", "sse"))
    return {
        "machine": {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]},
        "deliveries_per_second": {name: each.rates for name, each in contenders.items()},
        "cpu_us_per_delivery": {name: each.cpu_us for name, each in contenders.items()},
        "p50_ms": {name: each.p50_ms for name, each in contenders.items()},
        "p99_ms": {name: each.p99_ms for name, each in contenders.items()},
        "rate_ratio": _ratio(ours.rates, floor.rates),
        "cpu_ratio": _ratio(ours.cpu_us, floor.cpu_us),
        "p99_ratio": _ratio(ours.p99_ms, floor.p99_ms),
        "sse_ratio": _ratio(sse.rates, ours.rates),
        "idle_kib": idle_kib,
    }


def _print(contenders: dict[str, Contender], result: dict[str, object]) -> int:
    for name, each in contenders.items():
        rate, cpu, p50, p99 = map(statistics.median, (each.rates, each.cpu_us, each.p50_ms, each.p99_ms))
        print(f"{name:<10} {rate:>9.0f} deliveries/s  {cpu:4.1f} us CPU   p50 {p50:5.1f} ms   p99 {p99:5.1f} ms")
    missed = 0
    for name, key, bar, sign in (
        ("deliveries/s, of the floor's", "rate_ratio", RATE_BAR, 1),
        ("p99, of the floor's", "p99_ratio", P99_BAR, -1),
        ("SSE, of WebSocket's rate", "sse_ratio", SSE_BAR, 1),
        ("KiB for an idle connection", "idle_kib", IDLE_BAR_KIB, -1),
    ):
        value = float(str(result[key]))
        held = value * sign >= bar * sign
        missed += not held
        print(f"{name:<30} {value:>6.2f}   bar {'>=' if sign > 0 else '<='} {bar:g}: {'held' if held else 'MISSED'}")
    print(f"{'CPU time, of the floor':<30} {float(str(result['cpu_ratio'])):>6.2f}")
    return 1 if missed else 0


def _idle_kib(folder: Path, users_port: str, token: str, count: int) -> float:
    """KiB that a connection that is open, subscribed and silent adds to the process's own memory."""
    with notifier(folder, users_port) as (port, pid):
        with crowd(10, port, websocket(token)):
            pass  # what is imported and cached at the first connection is no connection's
        before = _own_kib(pid)
        with crowd(count, port, websocket(token)):
            return (_own_kib(pid) - before) / count


@contextmanager
def notifier(folder: Path, users_port: str, **settings: str) -> Iterator[tuple[int, int]]:
    """A real notifier, on an embedded broker of its own unless the settings name another; its port and process id."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    own = {
        "SHOP_DATA_DIR": str(folder),
        "SHOP_OTLP_URL": "",
        "SHOP_LOG_LEVEL": "warning",
        "SHOP_NOTIFIER_PORT": str(port),
        "SHOP_USERS_ADDRESS": f"127.0.0.1:{users_port}",
        # No client here answers pings, nor counts them as events.
        "SHOP_NOTIFIER_HEARTBEAT": "3600",
    }
    with serving([sys.executable, "-m", "services.notifier"], {**own, **settings}) as process:
        yield port, process.pid


def event_size(position: int) -> int:
    """Bytes of the frame of the event at a position."""
    return len(_frame(position).websocket)


def _frame(position: int) -> Frame:
    return Notice(LogEntry(Position.at(position), an_event(position))).frame


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def _own_kib(pid: int) -> int:
    # Anonymous memory. Its share of mapped files changes with each other process that maps them, as by half a KiB a
    # connection on a machine where shops come and go.
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
