"""The articles' GraphQL query, 20 orders of 3 items, against an endpoint written by hand for exactly that answer.

Both are served by the same boundary in a process of their own and make the same three calls to the same stand-in for
the gateway; the load comes from this process, in turns. Bar: 40 %, by the processor time
that each query costs its server: on a busy machine that is steadier than queries a second, which are printed beside it.
The stand-in answers from memory, so nothing slow upstream hides what the engine costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from bench.roles import RESULTS, cpu_seconds, started_role
from shop.started_shop import unwound_by_signals

BAR = 0.4
QUERY = 'query { user(id: "123") { name email orders { id total items { product { name price } } } } }'
_BODY = json.dumps({"query": QUERY}).encode()
_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer someone", "X-Timeout-Ms": "2000"}


@dataclass
class Server:
    """One of the two, with its queries a second and milliseconds of CPU for each, of every turn."""

    url: str
    pid: int
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/graphql.json`, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.graphql", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns that each of the two gets")
    parser.add_argument("--seconds", type=float, default=0.6, help="length of a turn")
    parser.add_argument("--connections", type=int, default=8)
    arguments = parser.parse_args()
    servers = asyncio.run(_measure(arguments.rounds, arguments.seconds, arguments.connections))
    ours, floor = servers["graphql"], servers["by_hand"]
    ratio = statistics.median([mine / bare for mine, bare in zip(ours.rates, floor.rates, strict=True)])
    cpu_ratio = statistics.median([bare / mine for mine, bare in zip(ours.cpu_ms, floor.cpu_ms, strict=True)])
    for name, server in servers.items():
        rate, cpu = statistics.median(server.rates), statistics.median(server.cpu_ms)
        print(f"{name:<10} {rate:>8.0f} queries/s  {cpu:>6.2f} ms of CPU each")
    held = "held" if cpu_ratio >= BAR else "MISSED"
    print(f"ratio      {cpu_ratio:>8.2f} by CPU  bar {BAR:g}: {held}  (by queries a second {ratio:.2f})")
    result = {
        "machine": {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]},
        "queries_per_second": {name: server.rates for name, server in servers.items()},
        "cpu_ms_per_query": {name: server.cpu_ms for name, server in servers.items()},
        "ratio": ratio,
        "cpu_ratio": cpu_ratio,
        "bar": BAR,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "graphql.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if cpu_ratio >= BAR else 1


async def _measure(rounds: int, seconds: float, connections: int) -> dict[str, Server]:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(_process("gateway", ""))
        servers = {
            name: await stack.enter_async_context(_process(name, gateway.url)) for name in ("graphql", "by_hand")
        }
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=_HEADERS))
        answers = [await _ask(session, server.url) for server in servers.values()]
        if answers[0] != answers[1]:
            raise RuntimeError(f"the two do not answer the same: {answers}")
        for number in range(rounds + 1):
            for server in servers.values():
                await _turn(session, server, seconds, connections)
                if not number:  # the first round warms up
                    server.rates.clear()
                    server.cpu_ms.clear()
        return servers


async def _turn(session: aiohttp.ClientSession, server: Server, seconds: float, connections: int) -> None:
    began, cpu = time.perf_counter(), cpu_seconds(server.pid)
    ends = began + seconds

    async def client() -> int:
        count = 0
        while time.perf_counter() < ends:
            await _ask(session, server.url)
            count += 1
        return count

    count = sum(await asyncio.gather(*(client() for _ in range(connections))))
    server.rates.append(count / (time.perf_counter() - began))
    server.cpu_ms.append((cpu_seconds(server.pid) - cpu) / count * 1000)


async def _ask(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.post(url, data=_BODY) as response:
        content = await response.read()
        if response.status != 200 or b'"errors"' in content:
            raise RuntimeError(f"{url} answered {response.status}: {content[:500]!r}")
        return content


@asynccontextmanager
async def _process(role: str, gateway: str) -> AsyncIterator[Server]:
    """Another process that serves a role until the block ends."""
    async with started_role("bench.graphql.roles", role, gateway) as (process, port):
        path = "" if role == "gateway" else "/graphql"
        yield Server(f"http://127.0.0.1:{port}{path}", process.pid)
