"""E4: over-fetching, under-fetching and N+1: 1, 10 and 100 rows of 2 or all 8 fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Ask
from bench.compare.adapters.rows import FULL, chosen, page
from bench.compare.bench import Bench, Pair, Unequal, opened
from bench.compare.measure.proxies import proxy
from bench.compare.measure.statistics import digest, percentiles
from bench.compare.variants import Variant

NAME = "E4"
ROWS = (1, 10, 100)
FIELDS = {2: ("name", "price"), 8: FULL}


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to get rows. `sends`: "asked" for only the fields that were asked for, or "all eight"."""

    variant: Variant
    how: str
    sends: str

    def requests(self, rows: int) -> int:
        """Requests of the client for so many rows."""
        return rows if self.how == "one by one" else 1


SHAPES: tuple[Shape, ...] = (
    Shape(Variant("rest-each", "REST, a request a row", "rest", "http1"), "one by one", "all eight"),
    Shape(Variant("rest-list", "REST, a list", "rest", "http1"), "", "all eight"),
    Shape(Variant("rest-gzip", "REST, a list, gzip", "rest", "http1", ("gzip",)), "", "all eight"),
    Shape(Variant("graphql-list", "GraphQL, a list", "graphql", "http1"), "", "asked"),
    Shape(Variant("graphql-batched", "GraphQL, lines with products, batched", "graphql", "http1"), "batched", "asked"),
    Shape(Variant("graphql-n1", "GraphQL, lines with products, N+1", "graphql", "http1"), "unbatched", "asked"),
    Shape(Variant("grpc-list", "gRPC, a list", "grpc_aio", "http2"), "", "all eight"),
    Shape(Variant("grpc-gzip", "gRPC, a list, gzip", "grpc_aio", "http2", (), ("gzip",)), "", "all eight"),
)
SHAPE_TITLES = {shape.variant.name: shape.variant.title for shape in SHAPES}


async def run(bench: Bench) -> None:
    """Bytes, requests and reads of each shape, then its time in interleaved rounds."""
    pairs = {shape.variant.name: await bench.pair(shape.variant) for shape in SHAPES}
    for shape in SHAPES:
        bench.say(f"{NAME}: bytes of {shape.variant.title}")
        for fields in FIELDS:
            for rows in ROWS:
                bench.folder.add(await _counted(pairs[shape.variant.name], shape, rows, fields))
    bench.say(f"{NAME}: {bench.rounds} rounds of {len(SHAPES)} shapes")
    for number, shape in bench.interleaved(SHAPES):
        async with opened(pairs[shape.variant.name]) as client:
            for rows in ROWS:
                done = await client.ask("calls", ask=_ask(shape, rows, 2), count=bench.either(2, 6))
                row = _names(shape, rows, 2, "time") | {"round": number, "p50_ms": percentiles(done["seconds"])["p50"]}
                bench.folder.add(row)


def _ask(shape: Shape, rows: int, fields: int) -> Ask:
    return Ask((), rows, FIELDS[fields], shape.how)


def _names(shape: Shape, rows: int, fields: int, kind: str) -> dict[str, Any]:
    names = {"experiment": NAME, "level": "bare", "variant": shape.variant.name, "kind": kind}
    return {**names, "rows": rows, "fields": fields, "sends": shape.sends}


async def _counted(pair: Pair, shape: Shape, rows: int, fields: int) -> dict[str, Any]:
    """The second call on a connection: bytes at the socket, requests, and reads of the server's table."""
    ask, expected = _ask(shape, rows, fields), digest(chosen(page(rows), FIELDS[fields]))
    if pair.server is None:
        raise ValueError("the reads of the shop's tables are not counted here")
    async with proxy(pair.port) as counting, opened(pair, port=counting.port) as client:
        await client.ask("calls", ask=ask, count=1)
        await counting.settled()
        before, reads = (counting.up, counting.down), await pair.server.ask("reads")
        done = await client.ask("calls", ask=ask, count=1)
        await counting.settled()
        costs = {"up": counting.up - before[0], "down": counting.down - before[1]}
        costs |= {"requests": shape.requests(rows), "reads": await pair.server.ask("reads") - reads}
    if digest(done["answer"]) != expected:
        raise Unequal(f"{shape.variant.title} answered something else: not shown")
    return {**_names(shape, rows, fields, "bytes"), **costs, "answer_sha256": expected}
