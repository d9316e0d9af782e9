"""E4: over-fetching, under-fetching and N+1: 1, 10 and 100 rows of 2 or all 8 fields."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from bench.compare.adapters.port import Selection
from bench.compare.adapters.rows import FULL, chosen, page
from bench.compare.bench import Bench, Pair, Unequal, opened
from bench.compare.experiments.shop.reads import CATALOG, port_of, sign_in
from bench.compare.measure.proxies import proxy
from bench.compare.measure.statistics import digest, percentiles
from bench.compare.measure.together import together
from bench.compare.variants import Variant
from bench.shop import RunningShop
from shop.sign_in import ADMIN

NAME = "E4"
ROWS = (1, 10, 100)
# Seconds within which every cache shows a new product.
_SHOWN, _POLL = 120.0, 0.1
_FRESH = {"Cache-Control": "no-cache"}
FIELDS = {2: ("name", "price"), 8: FULL}


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to get rows. `sends` are the fields sent: those that were requested, or all eight."""

    variant: Variant
    how: str
    sends: str

    def requests(self, rows: int) -> int:
        """Requests of the client for so many rows."""
        return rows if self.how == "one by one" else 1


SHAPES: tuple[Shape, ...] = (
    Shape(Variant("rest-each", "REST, a request a row", "rest", "http1"), "one by one", "all eight"),
    Shape(Variant("rest-list", "REST, a list", "rest", "http1"), "", "all eight"),
    Shape(Variant("rest-gzip", "REST, a list, gzip", "rest", "http1", ("gzip",), ("gzip",)), "", "all eight"),
    Shape(Variant("graphql-list", "GraphQL, a list", "graphql", "http1"), "", "asked"),
    Shape(Variant("graphql-batched", "GraphQL, lines with products, batched", "graphql", "http1"), "batched", "asked"),
    Shape(Variant("graphql-n1", "GraphQL, lines with products, N+1", "graphql", "http1"), "unbatched", "asked"),
    Shape(Variant("grpc-list", "gRPC, a list", "grpc_aio", "http2"), "", "all eight"),
    Shape(Variant("grpc-gzip", "gRPC, a list, gzip", "grpc_aio", "http2", (), ("gzip",)), "", "all eight"),
)
SHOP_SHAPES: tuple[tuple[Shape, str], ...] = (
    (
        Shape(Variant("shop-each", "REST, a request a row, cached", "rest", "http1"), "one by one", "all eight"),
        "gateway",
    ),
    (Shape(Variant("shop-list", "REST, a list, cached", "rest", "http1"), "", "all eight"), "gateway"),
    (
        Shape(Variant("shop-list-gzip", "REST, a list, gzip, cached", "rest", "http1", ("gzip",)), "", "all eight"),
        "gateway",
    ),
    (
        Shape(Variant("shop-graphql-list", "GraphQL, a list, over cached REST", "graphql", "http1"), "", "asked"),
        "gateway",
    ),
    (
        Shape(Variant("shop-grpc-list", "gRPC to catalog, a list, not cached", "grpc_aio", "http2"), "", "all eight"),
        CATALOG,
    ),
)
SHAPE_TITLES = {shape.variant.name: shape.variant.title for shape in (*SHAPES, *(shape for shape, _ in SHOP_SHAPES))}


@dataclass(frozen=True, slots=True)
class Level:
    """The shapes of one level, and the rows that they are to answer, with all eight fields."""

    name: str
    shapes: Sequence[Shape]
    pairs: dict[str, Pair]
    table: list[dict[str, Any]]

    def selection(self, shape: Shape, rows: int, fields: int) -> Selection:
        ids = tuple(str(row["id"]) for row in self.table[:rows]) if shape.how == "one by one" else ()
        return Selection(ids, rows, FIELDS[fields], shape.how)


async def run(bench: Bench) -> None:
    """Both levels."""
    pairs = {shape.variant.name: await bench.pair(shape.variant) for shape in SHAPES}
    await _measure(bench, Level("bare", SHAPES, pairs, [dict(row) for row in page(ROWS[-1])]))
    if not bench.bare:
        await _measure(bench, await _shop(bench))


async def _shop(bench: Bench) -> Level:
    """The shop's own products, with as many more as a page of 100 needs."""
    shop = await bench.shop()
    pairs = {
        shape.variant.name: await bench.shop_pair(shape.variant, port_of(shop, where), {})
        for shape, where in SHOP_SHAPES
    }
    level = Level("shop", [shape for shape, _ in SHOP_SHAPES], pairs, await asyncio.to_thread(filled, shop))
    await together(_known(level, shape) for shape in level.shapes)
    return level


async def _known(level: Level, shape: Shape) -> None:
    """Wait until the caches on a shape's way show the products that were added. Raises `Unequal`."""
    async with opened(level.pairs[shape.variant.name]) as client:
        for rows in ROWS:
            expected, answer = chosen(level.table[:rows], FULL), None
            with suppress(TimeoutError):
                async with asyncio.timeout(_SHOWN):
                    while answer is None or digest(answer) != digest(expected):
                        answer = (await client.call("calls", selection=level.selection(shape, rows, 8), count=1))[
                            "answer"
                        ]
                        await asyncio.sleep(_POLL)
            if answer is None:
                raise Unequal(f"{shape.variant.title} did not answer for {_SHOWN:.0f} s when asked for {rows} rows")
            if digest(answer) != digest(expected):
                wrong = [got for got, row in zip(answer, expected, strict=False) if got != row]
                raise Unequal(
                    f"{shape.variant.title} answers {len(answer)} of {rows} rows, {len(wrong)} of them otherwise than "
                    f"the REST API {_SHOWN:.0f} s before, such as {wrong[:1]}"
                )


def filled(shop: RunningShop) -> list[dict[str, Any]]:
    """Add products until there are 100; returns the first 100 as the REST API lists them."""
    with httpx.Client(base_url=shop.url("gateway"), trust_env=False) as http:
        headers = {"Authorization": f"Bearer {sign_in(shop, ADMIN)}"}
        path = f"/v1/products?limit={ROWS[-1]}"
        have = len(http.get(path, headers=_FRESH).raise_for_status().json()["items"])
        for row in page(ROWS[-1])[have:]:
            new = {name: value for name, value in row.items() if name not in ("id", "image_url", "updated_at")}
            http.post("/v1/products", json=new, headers=headers).raise_for_status()
        found: list[dict[str, Any]] = http.get(path, headers=_FRESH).raise_for_status().json()["items"]
        return found


async def _measure(bench: Bench, level: Level) -> None:
    """Bytes, requests and reads of each shape, then its time in interleaved rounds."""
    bench.say(f"{NAME} {level.name}: bytes of {', '.join(shape.variant.title for shape in level.shapes)}")
    # All at once: bytes and reads do not depend on what else the machine does.
    for counted in await together(_all_counted(level, shape) for shape in level.shapes):
        for row in counted:
            bench.folder.add(row)
    bench.say(f"{NAME} {level.name}: {bench.rounds} rounds of {len(level.shapes)} shapes")
    for number, shape in bench.interleaved(level.shapes):
        async with opened(level.pairs[shape.variant.name]) as client:
            for rows in ROWS:
                done = await client.call("calls", selection=level.selection(shape, rows, 2), count=bench.either(2, 6))
                names = _names(level, shape, rows, 2, "time")
                bench.folder.add(names | {"round": number, "p50_ms": percentiles(done["seconds"])["p50"]})


def _names(level: Level, shape: Shape, rows: int, fields: int, kind: str) -> dict[str, Any]:
    names = {"experiment": NAME, "level": level.name, "variant": shape.variant.name, "kind": kind}
    return {**names, "rows": rows, "fields": fields, "sends": shape.sends}


async def _all_counted(level: Level, shape: Shape) -> list[dict[str, Any]]:
    return [await _counted(level, shape, rows, fields) for fields in FIELDS for rows in ROWS]


async def _counted(level: Level, shape: Shape, rows: int, fields: int) -> dict[str, Any]:
    """The second call on a connection: bytes at the socket, requests, and reads of the server's table (bare only)."""
    pair = level.pairs[shape.variant.name]
    selection, expected = level.selection(shape, rows, fields), digest(chosen(level.table[:rows], FIELDS[fields]))
    async with proxy(pair.port) as counting, opened(pair, port=counting.port) as client:
        await client.call("calls", selection=selection, count=1)
        await counting.settled()
        before, reads = (counting.up, counting.down), await _reads(pair)
        done = await client.call("calls", selection=selection, count=1)
        await counting.settled()
        costs: dict[str, int | None] = {"up": counting.up - before[0], "down": counting.down - before[1]}
        costs |= {"requests": shape.requests(rows), "reads": await _reads(pair) - reads if pair.server else None}
    if digest(done["answer"]) != expected:
        raise Unequal(f"{shape.variant.title} answered something else: not shown")
    return {**_names(level, shape, rows, fields, "bytes"), **costs, "answer_sha256": expected}


async def _reads(pair: Pair) -> int:
    return 0 if pair.server is None else int(await pair.server.call("reads"))
