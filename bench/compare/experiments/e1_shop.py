"""The shop's own reads, in groups: what is in one group answers the same from the same place; groups are not ranked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.compare.adapters.port import Ask
from bench.compare.bench import SESSIONS, Bench, Pair
from bench.compare.variants import Variant
from bench.shop import RunningShop
from shop.gateway_client import Gateway
from shop.sign_in import CUSTOMER, password_of


@dataclass(frozen=True, slots=True)
class ShopRead:
    """Variants that do the same work. `identity`: whether the caller says who they are."""

    name: str
    ask: Ask
    identity: str
    pairs: list[Pair]
    pids: list[int]


def _variant(name: str, title: str, adapter: str, wire: str = "http1", *options: str) -> Variant:
    return Variant(name, title, adapter, wire, options)


# Group, identity, question, variants with the process that each of them calls.
_PRODUCT, _STOCK = Ask(), Ask(fields=("product_id", "available"), how="availability")
GROUPS: tuple[tuple[str, str, Ask, tuple[tuple[Variant, str], ...]], ...] = (
    (
        "from catalog, no cache at the gateway",
        "none",
        _PRODUCT,
        (
            (_variant("shop-rest", "REST, no-cache", "rest", "http1", "no-cache"), "gateway"),
            (_variant("shop-grpc", "gRPC to catalog", "grpc_aio", "http2"), "SHOP_CATALOG_PORT"),
        ),
    ),
    (
        "from catalog, no cache at the gateway, with a token",
        "token",
        _PRODUCT,
        (
            (_variant("shop-rest-token", "REST, no-cache, token", "rest", "http1", "no-cache"), "gateway"),
            (_variant("shop-grpc-token", "gRPC to catalog, token", "grpc_aio", "http2"), "SHOP_CATALOG_PORT"),
        ),
    ),
    (
        "from the gateway's cache",
        "none",
        _PRODUCT,
        (
            (_variant("shop-rest-hit", "REST, cache hit", "rest"), "gateway"),
            (_variant("shop-graphql", "GraphQL over cached REST", "graphql"), "gateway"),
        ),
    ),
    (
        "revalidated: the client has the answer already",
        "none",
        _PRODUCT,
        ((_variant("shop-rest-304", "REST, 304", "rest", "http1", "revalidate"), "gateway"),),
    ),
    (
        "stock, live from the ERP",
        "the ERP's own session where SOAP is spoken",
        _STOCK,
        (
            (_variant("shop-rest-stock", "REST: availability", "rest"), "gateway"),
            (_variant("shop-grpc-stock", "gRPC to inventory", "grpc_aio", "http2"), "SHOP_INVENTORY_PORT"),
            (_variant("shop-soap-stock", "SOAP to the ERP", "soap"), "SHOP_LEGACY_SOAP_PORT"),
        ),
    ),
)
SHOP_TITLES = {variant.name: variant.title for _, _, _, variants in GROUPS for variant, _ in variants}


async def shop_reads(bench: Bench) -> list[ShopRead]:
    """All groups against a running shop."""
    shop = await bench.shop()
    token = await asyncio.to_thread(sign_in, shop)
    pids = list(shop.pids().values())
    found: list[ShopRead] = []
    for name, identity, ask, variants in GROUPS:
        pairs = []
        for variant, where in variants:
            client = await bench.worker(f"{SESSIONS}:Client", f"bench.compare.shop_adapters.{variant.adapter}")
            headers = {"Authorization": f"Bearer {token}"} if identity == "token" else {}
            pairs.append(Pair(variant, client, port_of(shop, where), None, headers))
        found.append(ShopRead(name, ask, identity, pairs, pids))
    return found


def sign_in(shop: RunningShop) -> str:
    """The demo customer's access token."""
    with Gateway(shop.url("gateway")) as gateway:
        return gateway.sign_in(CUSTOMER, password_of(CUSTOMER))


def port_of(shop: RunningShop, where: str) -> int:
    """A process's first port, or the port that a setting names."""
    if where.startswith("SHOP_"):
        return int(shop.address(where).rpartition(":")[2])
    return urlsplit(shop.url(where)).port or 0
