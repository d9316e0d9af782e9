"""E8: how long it takes a client to know that its server has failed, and what it knows then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Selection
from bench.compare.bench import Bench, Pair, check_equal, opened
from bench.compare.experiments.shop import lost_answers
from bench.compare.experiments.shop.reads import CACHED, GRAPHQL, GRPC, REST_UNCACHED, SOAP, STOCK, UNCACHED, shop_reads
from bench.compare.measure.proxies import proxy
from bench.compare.measure.together import together
from bench.compare.variants import HTTP2, READS

NAME = "E8"
# Seconds that each caller is ready to wait in silence.
CALLER_TIMEOUT = 0.5
# Seconds for a server to be reached at all, however busy the machine: a fault other than silence ends the call sooner.
_FAULT_TIMEOUT = 20.0
# Fault -> what a client can conclude, whatever the protocol.
FAULTS = {
    "stopped": "not done, unless the request was written already",
    "cut": "unknown: it may have been done",
    "silent": "unknown: it may have been done",
}
# Bytes of the answer that arrive before the cut.
ANSWER_BYTES = 9
# A fault is noticed by the client's library: one route of each is enough.
SHOP_READS = {variant.name: variant.title for variant in (REST_UNCACHED, GRPC, GRAPHQL, SOAP)}


async def run(bench: Bench) -> None:
    """Both levels; in the shop also orders whose answer is lost."""
    pairs = await bench.pairs((*READS, HTTP2))
    await check_equal(pairs, Selection())
    await _measure(bench, Reads("bare", [(pair, Selection()) for pair in pairs]))
    if bench.bare:
        return
    groups = await shop_reads(bench, (UNCACHED, CACHED, STOCK))
    of_shop = [(pair, group.selection) for group in groups for pair in group.pairs if pair.variant.name in SHOP_READS]
    await _measure(bench, Reads("shop", of_shop))
    await lost_answers.run(bench)


@dataclass(frozen=True, slots=True)
class Reads:
    """The reads of each pair at a level."""

    level: str
    pairs: Sequence[tuple[Pair, Selection]]


async def _measure(bench: Bench, reads: Reads) -> None:
    """Each fault on each variant, on a connection that has worked before, once a round."""

    async def failed(pair: Pair, selection: Selection, fault: str, number: int) -> None:
        row = await _failed(pair, selection, fault)
        names = {"experiment": NAME, "level": reads.level, "variant": pair.variant.name, "kind": fault}
        bench.folder.add({**names, "round": number, **row})

    for number, (pair, selection) in bench.interleaved(reads.pairs):
        for fault in FAULTS:
            if fault != "silent":
                await failed(pair, selection, fault, number)
    for number in range(bench.rounds):
        # All at once: each only waits.
        await together(failed(*each, "silent", number) for each in reads.pairs)
    bench.say(f"{NAME} {reads.level}: {len(FAULTS)} faults on {len(reads.pairs)} variants, {bench.rounds} rounds")


async def _failed(pair: Pair, selection: Selection, fault: str) -> dict[str, Any]:
    """The fault and what the client's library makes of it; of a cut, how many bytes of the answer had arrived."""
    async with proxy(pair.port) as way, opened(pair, port=way.port) as client:
        await client.call("calls", selection=selection, count=1)
        await way.settled()
        before = way.down
        if fault == "stopped":
            way.stop()
        elif fault == "cut":
            way.cut_after = ANSWER_BYTES
        else:
            way.stalled = True
        within = CALLER_TIMEOUT if fault == "silent" else _FAULT_TIMEOUT
        found: dict[str, Any] = await client.call("failing", selection=selection, within=within)
        return found | ({"answer_bytes": way.down - before} if fault == "cut" else {})
