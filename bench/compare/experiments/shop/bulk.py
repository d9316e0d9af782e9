"""E6 in the shop: a customer's file up and down, through the gateway and at storage itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare.adapters.port import Link
from bench.compare.bench import Bench, Unequal, cpu_of
from bench.compare.bulk.content import hash_of
from bench.compare.experiments.shop.reads import port_of, sign_in
from bench.compare.measure.workers import worker

_SESSION = "bench.compare.bulk.shop_sessions:FileClient"
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
    expected = hash_of(size)
    async with worker(_SESSION) as client:
        link = Link(port_of(shop, "gateway"), (), headers)
        file = (await client.call("move", link=link, way="http-up", size=size, file=""))["file"]
    bench.say(f"E6 shop: {bench.rounds} rounds of {size >> 20} MiB, {len(SHOP_TRANSFERS)} ways")
    for number, transfer in bench.interleaved(SHOP_TRANSFERS):
        link = Link(port_of(shop, transfer.where), (), headers)
        async with worker(_SESSION) as client:
            await client.call("move", link=link, way=transfer.way, size=_WARM, file=file)
            before, held = cpu_of(pids), forget_peaks(pids)
            done = await client.call("move", link=link, way=transfer.way, size=size, file=file)
            cpu, peak = cpu_of(pids) - before, peaks(pids)
        if done["sha256"] != expected:
            raise Unequal(f"{transfer.title} moved something else: not shown")
        names = {"experiment": "E6", "level": "shop", "variant": transfer.name, "kind": "bulk", "round": number}
        facts: dict[str, Any] = {"group": transfer.group, "amount": size, "answer_sha256": done["sha256"]}
        facts |= {"seconds": done["seconds"], "cpu_server": cpu, "cpu_client": done["cpu"], "peak_client": done["peak"]}
        more = [late - early for early, late in zip(held, peak, strict=True)]
        bench.folder.add({**names, **facts, "peak_server": max(0, *more) if more else None})


def forget_peaks(pids: list[int]) -> list[int]:
    """Let the system forget each process's peak memory; returns what each holds now, in bytes. Linux only."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return [_status(pid, "VmRSS") for pid in pids]


def peaks(pids: list[int]) -> list[int]:
    """The most that each process has held since then, in bytes. Linux only."""
    return [_status(pid, "VmHWM") for pid in pids] if Path("/proc/self/clear_refs").exists() else []


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
