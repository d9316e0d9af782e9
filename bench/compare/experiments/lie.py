"""Four ways to lie, each a public mistake: the same servers, measured rightly and wrongly in the same round."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

from bench.compare.adapters.port import Selection
from bench.compare.bench import Bench, Pair, opened
from bench.compare.measure.statistics import percentiles
from bench.compare.measure.together import together
from bench.compare.measure.workers import Worker
from bench.compare.variants import BY_NAME

NAME = "lie"
_SESSION = "bench.compare.measure.lies:Liar"
_BATCH = 200
# Calls that have a p99.
_CALLS = 100
# The server stops for so long in every run of the first lie, as a garbage collection or a full disk would make it.
_STALL = 0.25


async def run(bench: Bench) -> None:
    """REST and WebSocket, each in interleaved rounds: what is true, and what each mistake makes of it."""
    pairs = {}
    for name in ("rest", "websocket"):
        honest = await bench.pair(BY_NAME[name])
        liar = await bench.worker(_SESSION, honest.variant.module)
        pairs[name] = Pair(honest.variant, liar, honest.port, honest.server)
    for number, name in bench.interleaved(list(pairs)):
        bench.say(f"lies about {pairs[name].variant.title}, round {number + 1} of {bench.rounds}")
        for lie, figures in (await _lies(bench, pairs[name])).items():
            row = {"experiment": NAME, "level": "bare", "variant": name, "kind": lie, "round": number, **figures}
            bench.folder.add(row)


async def _lies(bench: Bench, pair: Pair) -> dict[str, dict[str, Any]]:
    seconds = bench.either(0.6, 1.0)
    async with opened(pair) as client:
        await client.call("calls", selection=Selection(), count=bench.warm_up)
        kept = percentiles((await client.call("calls", selection=Selection(), count=50))["seconds"])["p50"]
        capacity = await client.call("capacity", selection=Selection(), seconds=0.3, at_once=1)
        rate = max(0.3 * capacity, _CALLS / seconds)
        open_ = await stalled(pair, client.call("rate", selection=Selection(), rate=rate, seconds=seconds))
        closed = await stalled(pair, client.call("closed", selection=Selection(), seconds=seconds, least=_CALLS))
        found = {
            "closed loop": {"right": percentiles(open_["seconds"])["p99"], "wrong": percentiles(closed)["p99"]},
            "new connection each": {"right": kept, "wrong": await _fresh(pair, client)},
            "one start for all": {
                "right": kept,
                "wrong": percentiles(await client.call("one_start", count=_BATCH))["p50"],
            },
        }
        if pair.variant.name == "websocket":
            found["publishes counted as done"] = await client.call(
                "publishes", port=pair.port, count=bench.either(300, 3_000)
            )
    return found


async def stalled(pair: Pair, measuring: Coroutine[Any, Any, Any]) -> Any:
    """The measurement, while the server stops once; it goes on again whatever becomes of the measurement."""
    return (await together((measuring, _stop_once(pair))))[0]


async def _stop_once(pair: Pair) -> None:
    assert pair.server is not None
    await asyncio.sleep(0.1)
    os.kill(pair.server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(_STALL)
    finally:
        os.kill(pair.server.pid, signal.SIGCONT)


async def _fresh(pair: Pair, client: Worker) -> float | None:
    took = [(await client.call("fresh", link=pair.link(), selections=[Selection()]))["seconds"] for _ in range(15)]
    return percentiles(took)["p50"]
