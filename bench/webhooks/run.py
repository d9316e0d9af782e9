"""`make bench-webhooks`: what keeping a webhook durably costs, on SQLite and on PostgreSQL (TEST_POSTGRES_URL).

The floor is the same process without a store: it verifies, parses and answers. Both record one trace in ten. They run
in turn, for a second at a time, loaded by another process over 32 connections, each of which sends its next request
after the answer: so a pause of the server is in the latency of 32 requests, and not of all that would have come in it.
Bars: at least 60 % of the floor's requests a second, and 99 % of the answers within 15 ms. Exit code 1 when one is
missed. `with worker` is SQLite while the other process relays and processes what comes in, on the same cores: it has no
bar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bench.roles import RESULTS, listens, not_run, own_databases, started_role
from shop.started_shop import unwound_by_signals

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")
SECRET = "bench-secret"  # noqa: S105  # of the benchmark alone
CONNECTIONS = 32
MAX_PER_SECOND = 40_000
WARM_UP_SECONDS = 0.2
RATIO_BAR = 0.60
P99_BAR_MS = 15.0


@dataclass
class Series:
    """The figures of one variant, turn by turn: requests a second, 99th percentile in ms, and the floor's rate."""

    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Medians; that of the rate's ratio to the floor is of the turns' own."""
        ratio = statistics.median(mine / floor for mine, floor in zip(self.rates, self.floors, strict=True))
        return {"per_second": statistics.median(self.rates), "p99_ms": statistics.median(self.p99s), "ratio": ratio}


@unwound_by_signals()
def main() -> int:
    """Measure, print a table, write it to `bench/results/webhooks.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of each variant")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-webhooks-") as folder:
        series = asyncio.run(_measure(Path(folder), arguments.rounds, arguments.seconds))
        fsyncs = _fsyncs_per_second(Path(folder))
    result = {
        "machine": {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0], "fsyncs_per_second": fsyncs},
        "variants": {name: one.summary() for name, one in series.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "webhooks.json").write_text(json.dumps(result, indent=2) + "\n")
    return 1 if _print(result) else 0


async def _measure(folder: Path, rounds: int, seconds: float) -> dict[str, Series]:
    async with AsyncExitStack() as stack:
        floor = await stack.enter_async_context(_receiver(folder / "floor", floor=True))
        ports = {"sqlite": await stack.enter_async_context(_receiver(folder / "sqlite"))}
        if listens(POSTGRES_URL):
            url = stack.enter_context(own_databases(POSTGRES_URL))
            ports["postgresql"] = await stack.enter_async_context(_receiver(folder / "postgresql", database=url))
        series = await beside_floor(floor, ports, rounds, seconds)
    # By itself, and last: what it has not processed at the end of a turn goes on into the next, which may not be the
    # floor's. So its ratio is to all of the floor's turns.
    worker = series["with worker"] = Series(floors=[statistics.median(series["floor"].rates)] * rounds)
    async with _receiver(folder / "worker", worker=True) as port:
        await _turn(Series(), port, seconds)
        for _ in range(rounds):
            await _turn(worker, port, seconds)
    return series


async def beside_floor(floor: int, ports: Mapping[str, int], rounds: int, seconds: float) -> dict[str, Series]:
    """Give each variant its turns, one of the floor's beside each, so that a slow minute slows both.

    Which of the two comes first is by turns. Ports are what is loaded; the first round is for caches and statements.
    """
    series = {name: Series() for name in ("floor", *ports)}
    for number in range(rounds + 1):
        for name, port in ports.items():
            turns = [("floor", floor), (name, port)]
            for each, loaded in turns if number % 2 else reversed(turns):
                await _turn(series[each] if number else Series(), loaded, seconds)
            if number:
                series["floor"].floors.append(series["floor"].rates[-1])
                series[name].floors.append(series["floor"].rates[-1])
    return series


async def _turn(series: Series, port: int, seconds: float) -> None:
    answered, latencies = await asyncio.to_thread(load_from_elsewhere, port, seconds)
    series.rates.append(answered / seconds)
    series.p99s.append(latencies[int(0.99 * (len(latencies) - 1))])


@asynccontextmanager
async def _receiver(
    folder: Path, *, floor: bool = False, worker: bool = False, database: str = ""
) -> AsyncIterator[int]:
    """The process that receives, with all else as in the shop; yields its port."""
    environment = {
        **{f"SHOP_WEBHOOK_SECRET_{name}": SECRET for name in ("STRIPE", "GITHUB", "SHOPIFY")},
        "SHOP_WEBHOOK_SECRET_STANDARD": "whsec_YmVuY2gtc2VjcmV0LWJlbmNoLXNlY3JldA==",
        "SHOP_DATA_DIR": str(folder),
        "SHOP_DATABASE_URL": database,
        "SHOP_LOG_LEVEL": "warning",
        "SHOP_OTLP_URL": "",
        "SHOP_TRACE_SAMPLE_RATIO": "0.1",
        "SHOP_WEBHOOKS_PORT": "0",
        "SHOP_WEBHOOKS_GRPC_PORT": "0",
    }
    async with AsyncExitStack() as stack:
        kind = "floor" if floor else "receiver"
        _, port = await stack.enter_async_context(started_role("bench.webhooks.child", kind, **environment))
        if worker:
            await stack.enter_async_context(started_role("bench.webhooks.child", "worker", **environment))
        yield int(port)


def load_from_elsewhere(port: int, seconds: float) -> tuple[int, list[float]]:
    """Load a port from another process; how many were answered 200, and each one's ms, in order of size.

    Raises `RuntimeError` when the load fails; that process writes why.
    """
    spawn = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_load, args=(port, seconds, sending))
    process.start()
    sending.close()  # else its end would not be seen here
    try:
        latencies: list[float] = receiving.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the load ended with exit code {process.exitcode}") from None
    process.join()
    return len(latencies), sorted(latencies)


def _load(port: int, seconds: float, sending: Any) -> None:
    import uvloop

    sending.send(uvloop.run(load_all(port, seconds)))


async def load_all(port: int, seconds: float) -> list[float]:
    """Each answer's ms. Raises when one is no 200, a connection ends, or the requests that were made run out."""
    # Made and signed beforehand: what is measured should be the server.
    requests = [_request() for _ in range(int(MAX_PER_SECOND * (WARM_UP_SECONDS + seconds)))]
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    # What happens while connections are being opened is not measured.
    since = time.perf_counter() + WARM_UP_SECONDS
    connections = [
        (await loop.create_connection(lambda: _Connection(requests, latencies, since, seconds), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(connection.done for connection in connections))
    return latencies


class _Connection(asyncio.Protocol):
    """One request after the other, by hand: a client library would cost more than the server."""

    def __init__(self, requests: list[bytes], latencies: list[float], since: float, seconds: float) -> None:
        self._requests = requests
        self._latencies = latencies
        self._since = since
        self._until = since + seconds
        self._answer = b""
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(RuntimeError(self._answer.decode()))
            return
        if self._began >= self._since:
            self._latencies.append((time.perf_counter() - self._began) * 1000)
        self._answer = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the server has closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self._transport.close()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        if self._began > self._until:
            self.done.set_result(None)
            self._transport.close()
            return
        if not self._requests:
            self._fail(RuntimeError(f"the server answers more than {MAX_PER_SECOND} requests a second: prepare more"))
            return
        self._transport.write(self._requests.pop())


def _request() -> bytes:
    """A payment's event as the provider sends it, some 700 bytes."""
    from partners import senders

    payment = {"id": "pi_1", "object": "payment_intent", "metadata": {"order_id": "77"}, "description": "x" * 400}
    event = senders.stripe("payment_intent.created", payment, secret=SECRET)
    lines = [f"{name}: {value}" for name, value in event.headers.items()]
    head = ["POST /webhooks/stripe HTTP/1.1", "Host: bench", f"Content-Length: {len(event.body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + event.body


def _fsyncs_per_second(folder: Path, rounds: int = 500) -> float:
    with (folder / "fsync").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(rounds):
            file.write(b"x" * 1_000)
            os.fsync(file.fileno())
        return rounds / (time.perf_counter() - began)


def _print(result: Mapping[str, Any]) -> bool:
    """Print the figures beside their bars; returns whether a bar was missed."""
    missed = False
    machine = result["machine"]
    for name, figures in result["variants"].items():
        verdicts: Sequence[str] = ()
        if name in ("sqlite", "postgresql"):
            held = figures["ratio"] >= RATIO_BAR, figures["p99_ms"] < P99_BAR_MS
            verdicts = [
                f"bar {RATIO_BAR:.0%}: {'held' if held[0] else 'MISSED'}",
                f"bar {P99_BAR_MS:g} ms: {'held' if held[1] else 'MISSED'}",
            ]
            missed = missed or not all(held)
        figure = (
            f"{figures['per_second']:>8.0f}/s  {figures['ratio']:>5.0%} of the floor  p99 {figures['p99_ms']:>6.1f} ms"
        )
        sys.stdout.write(f"{name:<16} {figure}  {', '.join(verdicts)}".rstrip() + "\n")
    if "postgresql" not in result["variants"]:
        not_run("postgresql", POSTGRES_URL)
    load = f"load average {machine['load_1m']:.1f}, {machine['fsyncs_per_second']:.0f} fsyncs/s"
    sys.stdout.write(f"on {machine['cores']} cores, {load}\n")
    return missed
