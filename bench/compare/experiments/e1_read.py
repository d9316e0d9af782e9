"""E1: what does one read cost? Bytes by layer for calls 1, 2 and 100, round trips, time alone, CPU of both sides."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Selection
from bench.compare.adapters.rows import brief
from bench.compare.bench import Bench, Pair, check_equal, cpu_of, opened
from bench.compare.experiments.shop.reads import ShopRead, shop_reads
from bench.compare.measure.layers import Layer, Span, spans, window
from bench.compare.measure.proxies import Distance, Proxy, proxy
from bench.compare.measure.statistics import digest, percentiles
from bench.compare.measure.together import together
from bench.compare.variants import reads

NAME = "E1"
# One way, in seconds: long beside the duration of a call here, so that what does not wait is sent before.
_DELAY = 0.03
_CALLS = (1, 2, 100)


async def run(bench: Bench) -> None:
    """Both levels."""
    pairs, selection = await bench.pairs(reads(os.environ, bench.tls())), Selection()
    expected = await check_equal(pairs, selection, digest([brief("42")]))
    bare = Reads("bare", pairs, selection, {"answer_sha256": expected})
    await _bytes(bench, [bare])
    bench.say(f"{NAME} bare: round trips")
    trips = await together(round_trips(pair, selection, bench.either(2, 5)) for pair in pairs)
    for pair, needed in zip(pairs, trips, strict=True):
        bench.folder.add(bare.names(pair, "round trips") | {"round_trips": needed})
    await _times(bench, bare)
    if bench.bare:
        return
    groups = [await _equal(group) for group in await shop_reads(bench)]
    await _bytes(bench, groups)
    for group in groups:
        await _times(bench, group)


@dataclass(frozen=True, slots=True)
class Reads:
    """Variants whose answers to the same question have been proved equal. `pids`: the servers', where no worker."""

    level: str
    pairs: Sequence[Pair]
    selection: Selection
    facts: dict[str, Any]
    pids: Sequence[int] = ()

    def names(self, pair: Pair, kind: str) -> dict[str, Any]:
        """The fields at the beginning of every row of a variant."""
        names = {"experiment": NAME, "level": self.level, "variant": pair.variant.name, "kind": kind}
        return {**names, **self.facts}


async def _equal(group: ShopRead) -> Reads:
    """A group of real routes that do the same work: the same source, the same cache state."""
    expected = await check_equal(group.pairs, group.selection)
    facts = {"answer_sha256": expected, "group": group.name, "identity": group.identity, "differs": group.differs}
    return Reads("shop", group.pairs, group.selection, facts, group.pids)


async def _bytes(bench: Bench, groups: Sequence[Reads]) -> None:
    """All at once: bytes do not depend on what else the machine does."""
    every = [(group, pair) for group in groups for pair in group.pairs]
    bench.say(f"{NAME} {groups[0].level}: bytes of {', '.join(pair.variant.title for _, pair in every)}")
    counted = await together(count_bytes(pair, group.selection, bench.either(3, 5)) for group, pair in every)
    plain = {pair.variant.name: rows for (_, pair), rows in zip(every, counted, strict=True)}
    for (group, pair), rows in zip(every, counted, strict=True):
        for row in rows if pair.variant.wire != "tls" else distinguished(rows, plain[_without_tls(pair)]):
            bench.folder.add(group.names(pair, "bytes") | row)


async def _times(bench: Bench, group: Reads) -> None:
    titles = ", ".join(pair.variant.title for pair in group.pairs)
    bench.say(f"{NAME} {group.level}: {bench.rounds} rounds of {titles}")
    samples: dict[str, list[list[float]]] = {pair.variant.name: [] for pair in group.pairs}
    for number, pair in bench.interleaved(group.pairs):
        row, seconds = await alone(pair, group.selection, bench.warm_up, bench.either(5, 60), group.pids)
        samples[pair.variant.name].append(seconds)
        bench.folder.add(group.names(pair, "alone") | {"round": number} | row)
    for name, rounds in samples.items():
        bench.folder.sample(NAME, f"{group.level}-{name}", "alone", rounds)


async def count_bytes(pair: Pair, selection: Selection, steady: int) -> list[dict[str, Any]]:
    """Bytes at the socket of calls 1, 2 and 100 on one connection, by layer; the first includes its set-up.

    The hundredth is the least, by its sum, of so many `steady` calls around it: gRPC sends a PING with some calls and
    not with others.
    """
    async with proxy(pair.port, keep=True) as counting:
        marks = [_offsets(counting)]
        async with opened(pair, port=counting.port) as client:
            for count in (1, 1, 97 - steady // 2, *[1] * steady):
                await client.call("calls", selection=selection, count=count)
                await counting.settled()
                marks.append(_offsets(counting))
        read = [spans(pair.variant.wire, recorded) for recorded in counting.recorded]
    first, second, _, *later = (_bytes_row(read, *bounds) for bounds in itertools.pairwise(marks))
    hundredth = min(later, key=lambda row: int(row["up"]) + int(row["down"]))
    return [{"call": call, **row} for call, row in zip(_CALLS, (first, second, hundredth), strict=True)]


def distinguished(rows: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers of calls over TLS: those of the same call without it, and TLS for what there is more.

    Raises `ValueError` when there is less: then it was not the same call.
    """
    found = []
    for row, without in zip(rows, plain, strict=True):
        layers = {}
        for way in ("up", "down"):
            if (more := row[way] - without[way]) < 0:
                raise ValueError(f"call {row['call']} has fewer bytes {way} with TLS than without: {row}, {without}")
            layers[f"layers_{way}"] = {**without[f"layers_{way}"], Layer.TLS.value: more}
        found.append({**row, **layers})
    return found


def _without_tls(pair: Pair) -> str:
    return pair.variant.name.removesuffix("-tls")


Offsets = list[tuple[int, int]]


def _offsets(counting: Proxy) -> Offsets:
    """Bytes of each connection so far, up and down."""
    return [(len(each.up), len(each.down)) for each in counting.recorded]


def _bytes_row(read: list[tuple[list[Span], list[Span]]], start: Offsets, end: Offsets) -> dict[str, Any]:
    row: dict[str, Any] = {"connections": len(end)}
    start = start + [(0, 0)] * (len(end) - len(start))
    for way, name in enumerate(("up", "down")):
        layers: dict[str, int] = {}
        for connection, (begins, ends) in enumerate(zip(start, end, strict=True)):
            for layer, size in window(read[connection][way], begins[way], ends[way]).items():
                layers[layer] = layers.get(layer, 0) + size
        row |= {name: sum(layers.values()), f"layers_{name}": layers}
    return row


async def round_trips(pair: Pair, selection: Selection, tries: int) -> float:
    """Round trips from no connection to the first answer: how often one side had to wait for the other.

    The least of some tries: a busy machine makes a side wait that need not have.
    """
    found = []
    for _ in range(tries):
        async with proxy(pair.port, Distance(_DELAY)) as far, opened(pair, port=far.port) as client:
            await client.call("calls", selection=selection, count=1)
            found.append(max(clocks.client for clocks in far.clocks))
    return min(found)


async def alone(
    pair: Pair, selection: Selection, warm_up: int, count: int, pids: Sequence[int]
) -> tuple[dict[str, Any], list[float]]:
    """One call at a time on a warm connection: milliseconds, and CPU milliseconds a call on both sides."""
    async with opened(pair) as client:
        await client.call("calls", selection=selection, count=warm_up)
        before = await _server_cpu(pair, pids)
        done = await client.call("calls", selection=selection, count=count)
        server = await _server_cpu(pair, pids) - before
    found = {f"{name}_ms": value for name, value in percentiles(done["seconds"]).items()}
    costs = {"cpu_ms_client": done["cpu"] * 1e3 / count, "cpu_ms_server": server * 1e3 / count}
    return {"n": count, **found, **costs}, done["seconds"]


async def _server_cpu(pair: Pair, pids: Sequence[int]) -> float:
    return cpu_of(pids) if pair.server is None else float(await pair.server.call("cpu"))
