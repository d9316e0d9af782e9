"""E6 in the shop: a customer's file up and down, through the gateway and at storage itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Link
from bench.compare.bench import Bench, Unequal, cpu_of
from bench.compare.bulk.content import hash_of
from bench.compare.experiments.shop.reads import port_of, sign_in
from bench.compare.measure.memory import forget_peaks
from bench.compare.measure.workers import worker

_SESSION = "bench.compare.bulk.shop_sessions:FileClient"
# The transfer that is not timed, in bytes: a file of its own where one is fetched.
_WARM = 1 << 20


@dataclass(frozen=True, slots=True)
class ShopTransfer:
    """A way to move a file; `group` names what is comparable."""

    name: str
    title: str
    way: str
    group: str
    where: str
    resumable: str


SHOP_TRANSFERS: tuple[ShopTransfer, ...] = (
    ShopTransfer("shop-http-down", "HTTP through the gateway", "http-down", "down", "gateway", "from any byte: Range"),
    ShopTransfer(
        "shop-grpc-down", "gRPC to storage", "grpc-down", "down", "SHOP_STORAGE_PORT", "from any byte: offset"
    ),
    ShopTransfer("shop-http-up", "HTTP through the gateway", "http-up", "up", "gateway", "no"),
    ShopTransfer("shop-grpc-up", "gRPC to storage", "grpc-up", "up", "SHOP_STORAGE_PORT", "no"),
)


async def run(bench: Bench) -> None:
    """Interleaved rounds, each with a client process of its own; uploads are on the disk when they are answered."""
    shop = await bench.shop()
    headers = {"Authorization": f"Bearer {await asyncio.to_thread(sign_in, shop)}"}
    size, pids = bench.either(2 << 20, 64 << 20), list(shop.pids().values())
    expected, files = {each: hash_of(each) for each in (_WARM, size)}, {}
    async with worker(_SESSION) as client:
        link = Link(port_of(shop, "gateway"), (), headers)
        for each in expected:
            files[each] = (await client.call("move", link=link, way="http-up", size=each, file=""))["file"]
    bench.say(f"E6 shop: {bench.rounds} rounds of {size >> 20} MiB, {len(SHOP_TRANSFERS)} ways")
    for number, transfer in bench.interleaved(SHOP_TRANSFERS):
        link = Link(port_of(shop, transfer.where), (), headers)
        async with worker(_SESSION) as client:
            warm = await client.call("move", link=link, way=transfer.way, size=_WARM, file=files[_WARM])
            before, held = cpu_of(pids), forget_peaks([*pids, client.pid])
            done = await client.call("move", link=link, way=transfer.way, size=size, file=files[size])
            cpu, growth = cpu_of(pids) - before, held.growth()
        if (warm["sha256"], done["sha256"]) != (expected[_WARM], expected[size]):
            raise Unequal(f"{transfer.title} moved something else: not shown")
        names = {"experiment": "E6", "level": "shop", "variant": transfer.name, "kind": "bulk", "round": number}
        facts: dict[str, Any] = {"group": transfer.group, "amount": size, "answer_sha256": done["sha256"]}
        facts |= {"seconds": done["seconds"], "cpu_server": cpu, "cpu_client": done["cpu"], "warm_up": _WARM}
        most = {"growth_server": max(growth[:-1]), "growth_client": growth[-1]} if growth else {}
        bench.folder.add({**names, **facts, **most})
