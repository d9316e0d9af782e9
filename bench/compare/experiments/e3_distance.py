"""E3: a page of seven products from a distance: who waits for how many round trips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Ask
from bench.compare.adapters.rows import brief
from bench.compare.bench import Bench, Unequal
from bench.compare.measure.proxies import Distance, proxy
from bench.compare.measure.statistics import digest
from bench.compare.variants import Variant

NAME = "E3"
# Round trips in milliseconds, and the share of pieces that are lost.
NETWORKS: tuple[tuple[int, float], ...] = ((0, 0.0), (20, 0.0), (80, 0.0), (80, 0.01))
IDS = tuple(str(number) for number in range(1, 8))
# The page: something first, something that depends on it, then five that depend on that.
_STAGES = [Ask(ids=IDS[:1]), Ask(ids=IDS[1:2]), Ask(ids=IDS[2:])]


@dataclass(frozen=True, slots=True)
class Page:
    """A way to load the page, over a connection that is not yet there."""

    variant: Variant
    asks: tuple[Ask, ...]


PAGES: tuple[Page, ...] = (
    Page(Variant("page-rest-1", "REST x 7, one connection", "rest", "http1"), tuple(_STAGES)),
    Page(Variant("page-rest-6", "REST x 7, six connections", "rest", "http1", ("pool",)), tuple(_STAGES)),
    Page(Variant("page-grpc", "gRPC x 7, one HTTP/2 connection", "grpc_aio", "http2"), tuple(_STAGES)),
    Page(Variant("page-websocket", "WebSocket x 7", "websocket", "websocket"), tuple(_STAGES)),
    Page(Variant("page-graphql", "GraphQL, one query", "graphql", "http1"), (Ask(ids=IDS),)),
)
PAGE_TITLES = {page.variant.name: page.variant.title for page in PAGES}


async def run(bench: Bench) -> None:
    """Each network in interleaved rounds, the whole page from no connection to its last row."""
    expected = digest([brief(each) for each in IDS])
    pairs = {page.variant.name: await bench.pair(page.variant) for page in PAGES}
    for milliseconds, loss in NETWORKS:
        bench.say(f"{NAME}: {milliseconds} ms, {loss:.0%} loss")
        for number, page in bench.interleaved(PAGES):
            pair = pairs[page.variant.name]
            network = Distance(milliseconds / 2_000, loss, seed=number + 1)
            for again in range(bench.either(1, 4 if loss else 1)):
                network.seed = 100 * number + again
                async with proxy(pair.port, network) as way:
                    link = pair.link(port=way.port)
                    done = await pair.client.ask("fresh", link=link, asks=list(page.asks))
                if digest(done["answer"]) != expected:
                    raise Unequal(f"{page.variant.title} answered something else: not shown")
                bench.folder.add(_row(page, milliseconds, loss, number, done) | {"answer_sha256": expected})


def _row(page: Page, milliseconds: int, loss: float, number: int, done: dict[str, Any]) -> dict[str, Any]:
    names = {"experiment": NAME, "level": "bare", "variant": page.variant.name, "kind": "page"}
    network = {"round_trip_ms": milliseconds, "loss": loss, "round": number}
    ends = [round(each * 1e3, 2) for each in done["ends"]]
    return {**names, **network, "ms": ends[-1], "ends_ms": ends}
