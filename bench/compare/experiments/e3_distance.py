"""E3: a page of seven products from a distance: who waits for how many round trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Selection
from bench.compare.adapters.rows import brief
from bench.compare.bench import Bench, Pair, Unequal, check_equal
from bench.compare.experiments.shop.reads import CATALOG, port_of
from bench.compare.measure.proxies import Distance, proxy
from bench.compare.measure.statistics import digest
from bench.compare.measure.together import together
from bench.compare.variants import Variant

NAME = "E3"
# Round trips in milliseconds, and the share of pieces that are lost.
NETWORKS: tuple[tuple[int, float], ...] = ((0, 0.0), (20, 0.0), (80, 0.0), (80, 0.01))
IDS = tuple(str(number) for number in range(1, 8))
# The page: something first, something that depends on it, then five that depend on that.
_STAGES = [Selection(ids=IDS[:1]), Selection(ids=IDS[1:2]), Selection(ids=IDS[2:])]


@dataclass(frozen=True, slots=True)
class Page:
    """A way to load the page, over a connection that is not yet there."""

    variant: Variant
    selections: tuple[Selection, ...]


PAGES: tuple[Page, ...] = (
    Page(Variant("page-rest-1", "REST x 7, one connection", "rest", "http1"), tuple(_STAGES)),
    Page(Variant("page-rest-6", "REST x 7, six connections", "rest", "http1", ("pool",)), tuple(_STAGES)),
    Page(Variant("page-rest-http2", "REST x 7, one HTTP/2 connection", "rest_http2", "http2-plain"), tuple(_STAGES)),
    Page(Variant("page-grpc", "gRPC x 7, one HTTP/2 connection", "grpc_aio", "http2"), tuple(_STAGES)),
    Page(Variant("page-websocket", "WebSocket x 7", "websocket", "websocket"), tuple(_STAGES)),
    Page(Variant("page-graphql", "GraphQL, one query", "graphql", "http1"), (Selection(ids=IDS),)),
)
SHOP_PAGES: tuple[tuple[Page, str], ...] = (
    (Page(Variant("shop-page-rest-1", "REST x 7, one connection, cached", "rest", "http1"), tuple(_STAGES)), "gateway"),
    (
        Page(
            Variant("shop-page-rest-6", "REST x 7, six connections, cached", "rest", "http1", ("pool",)), tuple(_STAGES)
        ),
        "gateway",
    ),
    (
        Page(Variant("shop-page-grpc", "gRPC x 7 to catalog, not cached", "grpc_aio", "http2"), tuple(_STAGES)),
        CATALOG,
    ),
    (
        Page(
            Variant("shop-page-graphql", "GraphQL, one query, over cached", "graphql", "http1"), (Selection(ids=IDS),)
        ),
        "gateway",
    ),
)
PAGE_TITLES = {page.variant.name: page.variant.title for page in (*PAGES, *(page for page, _ in SHOP_PAGES))}


async def run(bench: Bench) -> None:
    """Both levels, the whole page from no connection to its last row."""
    pairs = {page.variant.name: await bench.pair(page.variant) for page in PAGES}
    await _measure(bench, "bare", PAGES, pairs, digest([brief(each) for each in IDS]))
    if bench.bare:
        return
    shop = await bench.shop()
    pairs = {
        page.variant.name: await bench.shop_pair(page.variant, port_of(shop, where), {}) for page, where in SHOP_PAGES
    }
    # Also lets the gateway's cache know the products, as it does those of any page.
    expected = await check_equal(list(pairs.values()), Selection(ids=IDS))
    await _measure(bench, "shop", [page for page, _ in SHOP_PAGES], pairs, expected)


async def _measure(bench: Bench, level: str, pages: Sequence[Page], pairs: dict[str, Pair], expected: str) -> None:
    """Each network in interleaved rounds; a quick run loads a round's pages at the same time."""
    for milliseconds, loss in NETWORKS:
        bench.say(f"{NAME} {level}: {milliseconds} ms, {loss:.0%} loss")

        async def loaded(number: int, page: Page, milliseconds: int = milliseconds, loss: float = loss) -> None:
            for again in range(bench.either(1, 3 if loss else 1)):
                network = Distance(milliseconds / 2_000, loss, seed=100 * number + again)
                row = await _loaded(page, pairs[page.variant.name], network, expected)
                names = {"round_trip_ms": milliseconds, "loss": loss, "round": number, "answer_sha256": expected}
                bench.folder.add({"experiment": NAME, "level": level, **row, **names})

        if bench.quick:
            await together(loaded(number, page) for number, page in bench.interleaved(pages))
        else:
            for number, page in bench.interleaved(pages):
                await loaded(number, page)


async def _loaded(page: Page, pair: Pair, network: Distance, expected: str) -> dict[str, Any]:
    async with proxy(pair.port, network) as way, pair.client.turn:
        done = await pair.client.call("fresh", link=pair.link(port=way.port), selections=list(page.selections))
    if digest(done["answer"]) != expected:
        raise Unequal(f"{page.variant.title} answered something else: not shown")
    ends = [round(each * 1e3, 2) for each in done["ends"]]
    return {"variant": page.variant.name, "kind": "page", "ms": ends[-1], "ends_ms": ends}
