"""E2: when does it get slow? An open loop at 20, 50 and 80 % of each variant's own capacity, and at one common rate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bench.compare.adapters.port import Ask, Call, Link, Rows
from bench.compare.bench import WARM_UP, Bench, Pair, check_equal, opened
from bench.compare.measure.sessions import failed
from bench.compare.measure.statistics import percentiles
from bench.compare.variants import READS, Variant

NAME = "E2"
COMMON_RATE = 100.0
SHARES = (0.2, 0.5, 0.8)
# Callers at once when capacity is sought, and the connections that HTTP/1.1 has for it; the others have one.
_AT_ONCE = 6
# What the instrument itself costs: a call that does nothing, at the common rate.
INSTRUMENT = Variant("nothing", "the instrument (a call that does nothing)", "", "http1")
RATE_TITLES = {INSTRUMENT.name: INSTRUMENT.title, **{variant.name: variant.title for variant in READS}}


@asynccontextmanager
async def serve(options: object) -> AsyncIterator[int]:
    """The instrument needs no server: there is no port."""
    del options
    yield 0


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """A call that does nothing: what is measured of it is the schedule's own lateness."""
    del link

    async def call(ask: Ask) -> Rows:
        del ask
        return []

    yield call


async def run(bench: Bench) -> None:
    """Capacity first, then every rate in interleaved rounds."""
    ask, seconds = Ask(), bench.either(0.15, 0.6)
    pairs = await bench.pairs(READS)
    expected = await check_equal(pairs, ask)
    capacities: dict[str, float] = {}
    for pair in pairs:
        async with opened(pair, "pool") as client:
            await client.ask("calls", ask=ask, count=WARM_UP)
            capacities[pair.variant.name] = await client.ask("capacity", ask=ask, seconds=seconds, at_once=_AT_ONCE)
        bench.say(f"{NAME}: {pair.variant.title} does {capacities[pair.variant.name]:.0f} calls a second")
    nothing = Pair(INSTRUMENT, await bench.worker("bench.compare.measure.sessions:Client", __name__), 0)
    samples: dict[tuple[str, str], list[list[float]]] = {}
    for number, pair in bench.interleaved([nothing, *pairs]):
        capacity = capacities.get(pair.variant.name)
        for name, rate in _rates(capacity, bench.either(SHARES[1:2], SHARES)):
            async with opened(pair, "pool") as client:
                await client.ask("calls", ask=ask, count=WARM_UP)
                done = await client.ask("rate", ask=ask, rate=rate, seconds=seconds)
            samples.setdefault((pair.variant.name, name), []).append(done["seconds"])
            facts = {"rate_name": name, "rate": rate, "capacity": capacity, "round": number, "answer_sha256": expected}
            bench.folder.add(_row(pair, facts, done))
        if pair is pairs[-1]:
            bench.say(f"{NAME}: round {number + 1} of {bench.rounds}")
    for (variant, name), rounds in samples.items():
        bench.folder.sample(NAME, variant, name, rounds)


def _rates(capacity: float | None, shares: Sequence[float]) -> list[tuple[str, float]]:
    own = [] if capacity is None else [(f"{share:.0%}", share * capacity) for share in shares]
    return [("common", COMMON_RATE), *own]


def _row(pair: Pair, facts: dict[str, Any], done: dict[str, Any]) -> dict[str, Any]:
    found = {f"{name}_ms": value for name, value in percentiles(done["seconds"]).items()}
    counts = {"n": len(done["seconds"]), "failed": failed(done["seconds"])}
    share = done["cpu"] / (counts["n"] / facts["rate"])
    names = {"experiment": NAME, "level": "bare", "variant": pair.variant.name, "kind": "rate", "intended": True}
    return {**names, **facts, **counts, **found, "client_cpu_share": round(share, 3)}
