"""E2: when does it get slow? An open loop at 20, 50 and 80 % of each variant's own capacity, and at one common rate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Call, Link, Rows, Selection
from bench.compare.bench import Bench, Pair, check_equal, opened
from bench.compare.experiments.shop.reads import CACHED, UNCACHED, shop_reads
from bench.compare.measure.sessions import failed
from bench.compare.measure.statistics import percentiles
from bench.compare.variants import READS, TRUSTED, Variant

NAME = "E2"
COMMON_RATE, SHOP_COMMON_RATE = 100.0, 40.0
SHARES = (0.2, 0.5, 0.8)
# Callers at once when capacity is sought, and the connections that HTTP/1.1 has for it; the others have one.
_CONCURRENCY = 6
# What the instrument itself costs: a call that does nothing, at the common rate.
INSTRUMENT = Variant("nothing", "the instrument (a call that does nothing)", "", "http1")
RATE_TITLES = {
    INSTRUMENT.name: INSTRUMENT.title,
    **{variant.name: variant.title for variant in (*READS, TRUSTED)},
    **{variant.name: variant.title for group in (UNCACHED, CACHED) for variant, _ in group.variants},
}


@asynccontextmanager
async def serve(options: object) -> AsyncIterator[int]:
    """The instrument needs no server: there is no port."""
    del options
    yield 0


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """A call that does nothing: what is measured of it is the schedule's own lateness."""
    del link

    async def call(selection: Selection) -> Rows:
        del selection
        return []

    yield call


@dataclass(frozen=True, slots=True)
class Level:
    """Variants that are measured together, and the facts about each that its rows keep."""

    name: str
    common: float
    selection: Selection
    pairs: list[Pair]
    facts: dict[str, dict[str, str]]


async def run(bench: Bench) -> None:
    """Both levels: capacity first, then every rate in interleaved rounds."""
    pairs, selection = await bench.pairs((*READS, TRUSTED)), Selection()
    facts = {"answer_sha256": await check_equal(pairs, selection)}
    await _measure(bench, Level("bare", COMMON_RATE, selection, pairs, {pair.variant.name: facts for pair in pairs}))
    if not bench.bare:
        await _measure(bench, await _shop(bench))


async def _shop(bench: Bench) -> Level:
    """The shop's product, uncached and cached."""
    pairs: list[Pair] = []
    facts: dict[str, dict[str, str]] = {}
    for group in await shop_reads(bench, (UNCACHED, CACHED)):
        expected = await check_equal(group.pairs, group.selection)
        own = {"answer_sha256": expected, "group": group.name, "identity": group.identity, "differs": group.differs}
        facts |= {pair.variant.name: own for pair in group.pairs}
        pairs += group.pairs
    return Level("shop", SHOP_COMMON_RATE, Selection(), pairs, facts)


async def _measure(bench: Bench, level: Level) -> None:
    selection, seconds = level.selection, bench.either(0.15, 0.5)
    capacities: dict[str, float] = {}
    # The most of some tries, in turn: whatever else the machine does can only take from it.
    for pair in (*level.pairs,) * bench.either(1, 3):
        async with opened(pair, "pool") as client:
            await client.call("calls", selection=selection, count=bench.warm_up)
            found = await client.call("capacity", selection=selection, seconds=seconds, at_once=_CONCURRENCY)
        capacities[pair.variant.name] = max(found, capacities.get(pair.variant.name, 0.0))
    said = (f"{pair.variant.title} {capacities[pair.variant.name]:.0f}" for pair in level.pairs)
    bench.say(f"{NAME} {level.name}: calls a second: {', '.join(said)}")
    nothing = Pair(INSTRUMENT, await bench.worker("bench.compare.measure.sessions:Client", __name__), 0)
    samples: dict[tuple[str, str], list[list[float]]] = {}
    for number, pair in bench.interleaved([nothing, *level.pairs]):
        capacity = capacities.get(pair.variant.name)
        async with opened(pair, "pool") as client:
            await client.call("calls", selection=selection, count=bench.warm_up)
            for name, rate in _rates(level.common, capacity, bench.either(SHARES[1:2], SHARES)):
                done = await client.call("rate", selection=selection, rate=rate, seconds=seconds)
                samples.setdefault((pair.variant.name, name), []).append(done["seconds"])
                facts = {"rate_name": name, "rate": rate, "capacity": capacity, "round": number}
                row = _row(pair, level.name, facts | level.facts.get(pair.variant.name, {}), done)
                bench.folder.add(row)
    bench.say(f"{NAME} {level.name}: {bench.rounds} rounds")
    for (variant, name), rounds in samples.items():
        every = [seconds for each in rounds for seconds in each]
        pooled = {"kind": "all rounds", "rate_name": name, "n": len(every), **_percentiles(every)}
        bench.folder.add({"experiment": NAME, "level": level.name, "variant": variant, **pooled})
        bench.folder.sample(NAME, f"{level.name}-{variant}", name, rounds)


def _rates(common: float, capacity: float | None, shares: Sequence[float]) -> list[tuple[str, float]]:
    own = [] if capacity is None else [(f"{share:.0%}", share * capacity) for share in shares]
    return [("common", common), *own]


def _row(pair: Pair, level: str, facts: dict[str, Any], done: dict[str, Any]) -> dict[str, Any]:
    counts = {"n": len(done["seconds"]), "failed": failed(done["seconds"]), "elapsed_s": round(done["elapsed"], 4)}
    share = done["cpu"] / done["elapsed"]
    names = {"experiment": NAME, "level": level, "variant": pair.variant.name, "kind": "rate", "intended": True}
    return {**names, **facts, **counts, **_percentiles(done["seconds"]), "client_cpu_share": round(share, 3)}


def _percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    return {f"{name}_ms": value for name, value in percentiles(seconds).items()}
