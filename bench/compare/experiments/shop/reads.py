"""The shop's own reads, in groups: what is in one group answers the same from the same place; groups are not ranked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.compare.adapters.port import Selection
from bench.compare.bench import Bench, Pair
from bench.compare.experiments.shop.trusted_gateway import TRUSTED_GATEWAY, trusted_gateway
from bench.compare.variants import Variant
from bench.shop import RunningShop
from shop.gateway_client import Gateway
from shop.sign_in import CUSTOMER, password_of


@dataclass(frozen=True, slots=True)
class ShopRead:
    """Variants that do the same work. `identity`: whether the caller is named; `differs`: other differences.

    `pids` are all processes that could have worked for an answer.
    """

    name: str
    selection: Selection
    identity: str
    differs: str
    pairs: list[Pair]
    pids: list[int]


@dataclass(frozen=True, slots=True)
class Group:
    """Variants with the process, or the setting of its port, that each of them calls."""

    name: str
    identity: str
    differs: str
    selection: Selection
    variants: tuple[tuple[Variant, str], ...]


def _variant(name: str, title: str, adapter: str, wire: str = "http1", *options: str) -> Variant:
    return Variant(name, title, adapter, wire, options)


_PRODUCT, _STOCK = Selection(), Selection(fields=("product_id", "available"), how="availability")
REST_UNCACHED = _variant("shop-rest", "REST, no-cache", "rest", "http1", "no-cache")
REST_HIT = _variant("shop-rest-hit", "REST, cache hit", "rest")
GRPC = _variant("shop-grpc", "gRPC to catalog", "grpc_aio", "http2")
GRAPHQL = _variant("shop-graphql", "GraphQL over cached REST", "graphql")
GRAPHQL_TRUSTED = _variant("shop-graphql-trusted", "GraphQL, trusted document", "graphql", "http1", "trusted")
CATALOG = "SHOP_CATALOG_PORT"
_PAST_THE_GATEWAY = "gRPC goes past the gateway: no rate limits, no HTTP at the edge, one process less"
UNCACHED = Group(
    "from catalog, no cache at the gateway",
    "none",
    _PAST_THE_GATEWAY,
    _PRODUCT,
    ((REST_UNCACHED, "gateway"), (GRPC, CATALOG)),
)
CACHED = Group(
    "from the gateway's cache",
    "none",
    "GraphQL's server calls the gateway in its turn, so the cache hit is two processes further away",
    _PRODUCT,
    ((REST_HIT, "gateway"), (GRAPHQL, "gateway"), (GRAPHQL_TRUSTED, TRUSTED_GATEWAY)),
)
SOAP = _variant("shop-soap-stock", "SOAP to the ERP", "soap")
STOCK = Group(
    "stock, live from the ERP",
    "the ERP's own session where SOAP is spoken",
    "REST and gRPC call the ERP by the same SOAP call, behind three and two processes of ours",
    _STOCK,
    (
        (_variant("shop-rest-stock", "REST: availability", "rest"), "gateway"),
        (_variant("shop-grpc-stock", "gRPC to inventory", "grpc_aio", "http2"), "SHOP_INVENTORY_PORT"),
        (SOAP, "SHOP_LEGACY_SOAP_PORT"),
    ),
)
GROUPS: tuple[Group, ...] = (
    UNCACHED,
    Group(
        "from catalog, no cache at the gateway, with a token",
        "token",
        _PAST_THE_GATEWAY,
        _PRODUCT,
        (
            (_variant("shop-rest-token", "REST, no-cache, token", "rest", "http1", "no-cache"), "gateway"),
            (_variant("shop-grpc-token", "gRPC to catalog, token", "grpc_aio", "http2"), CATALOG),
        ),
    ),
    CACHED,
    Group(
        "revalidated: the client has the answer already",
        "none",
        "",
        _PRODUCT,
        ((_variant("shop-rest-304", "REST, 304", "rest", "http1", "revalidate"), "gateway"),),
    ),
    Group(
        "an agent reads a product: the gateway's cache, with a token",
        "token",
        "MCP's server calls the gateway in its turn; an MCP client first reads what it can do, which is in call 1",
        _PRODUCT,
        (
            (_variant("shop-rest-hit-token", "REST, cache hit, token", "rest"), "gateway"),
            (_variant("shop-mcp-resource", "MCP, resource product://42", "mcp"), "gateway"),
        ),
    ),
    Group(
        "an agent lists one product: the gateway's cache, with a token",
        "token",
        "MCP's server calls the gateway in its turn; a tool's answer has each product twice, as text and data, as MCP "
        "wants it, and here without its picture and date",
        Selection((), 1),
        (
            (_variant("shop-rest-search", "REST, a list of one, token", "rest"), "gateway"),
            (_variant("shop-mcp-tool", "MCP, tool search_products", "mcp", "http1", "tool"), "gateway"),
        ),
    ),
    STOCK,
)
SHOP_TITLES = {variant.name: variant.title for group in GROUPS for variant, _ in group.variants}


async def shop_reads(bench: Bench, groups: tuple[Group, ...] = GROUPS) -> list[ShopRead]:
    """Prepare these groups for a running shop."""
    shop = await bench.shop()
    trusting = await trusted_gateway(bench)
    token = await asyncio.to_thread(sign_in, shop)
    pids = [*shop.pids().values(), *trusting.pids]
    found: list[ShopRead] = []
    for group in groups:
        headers = {"Authorization": f"Bearer {token}"} if group.identity == "token" else {}
        ports = [trusting.port if where == TRUSTED_GATEWAY else port_of(shop, where) for _, where in group.variants]
        pairs = [
            await bench.shop_pair(variant, port, headers)
            for (variant, _), port in zip(group.variants, ports, strict=True)
        ]
        found.append(ShopRead(group.name, group.selection, group.identity, group.differs, pairs, pids))
    return found


def sign_in(shop: RunningShop, email: str = CUSTOMER) -> str:
    """A demo account's access token."""
    with Gateway(shop.url("gateway")) as gateway:
        return gateway.sign_in(email, password_of(email))


def port_of(shop: RunningShop, where: str) -> int:
    """A process's first port, or the port that a setting names."""
    if where.startswith("SHOP_"):
        return int(shop.address(where).rpartition(":")[2])
    return urlsplit(shop.url(where)).port or 0
