"""E8: how long it takes a client to know that its server has failed, and what it knows then."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.compare.adapters.port import Ask
from bench.compare.bench import Bench, Pair, opened
from bench.compare.measure.proxies import proxy
from bench.compare.variants import READS

NAME = "E8"
# Seconds that each caller is ready to wait.
CALLER_TIMEOUT = 0.5
# Fault -> what a client can conclude, whatever the protocol.
FAULTS = {
    "stopped": "not done, unless the request was written already",
    "cut": "unknown: it may have been done",
    "silent": "unknown: it may have been done",
}
_INSIDE_THE_ANSWER = 9


async def run(bench: Bench) -> None:
    """Each fault on each variant, on a connection that has worked before, once a round."""
    pairs = await bench.pairs(READS)
    for number, pair in bench.interleaved(pairs):
        for fault in FAULTS:
            if fault != "silent":
                bench.folder.add(_row(pair, fault, number, await _failed(pair, fault)))
    for number in range(bench.rounds):
        # All at once: each only waits.
        rows = await asyncio.gather(*(_failed(pair, "silent") for pair in pairs))
        for pair, row in zip(pairs, rows, strict=True):
            bench.folder.add(_row(pair, "silent", number, row))
    bench.say(f"{NAME}: {len(FAULTS)} faults on {len(pairs)} variants, {bench.rounds} rounds")


def _row(pair: Pair, fault: str, number: int, row: dict[str, Any]) -> dict[str, Any]:
    names = {"experiment": NAME, "level": "bare", "variant": pair.variant.name, "kind": fault, "round": number}
    return {**names, **row}


async def _failed(pair: Pair, fault: str) -> dict[str, Any]:
    async with proxy(pair.port) as way, opened(pair, port=way.port) as client:
        await client.ask("calls", ask=Ask(), count=1)
        await way.settled()
        if fault == "stopped":
            way.stop()
        elif fault == "cut":
            way.cut_after = _INSIDE_THE_ANSWER
        else:
            way.stalled = True
        found: dict[str, Any] = await client.ask("failing", ask=Ask(), within=CALLER_TIMEOUT)
        return found
