"""E6: much at once. MB a second, CPU and peak memory of both sides, and how soon a sender notices a stopped reader."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Link
from bench.compare.adapters.rows import PLACES
from bench.compare.bench import Bench, Unequal
from bench.compare.bulk.content import hash_of
from bench.compare.experiments.shop import bulk
from bench.compare.measure.memory import forget_peaks
from bench.compare.measure.workers import worker

NAME = "E6"
# The transfer that is cancelled is so many times as much: more than can be sent before the cancel.
CANCELLED_PARTS = 64
_SIDE = "bench.compare.bulk.sessions:Side"


@dataclass(frozen=True, slots=True)
class Transfer:
    """A way to move content (`group` names what: only one group's rows compare)."""

    name: str
    title: str
    module: str
    what: str
    group: str
    resumable: str


_RANGE = "from any byte (Range)"
_OWN = "only with an offset of the service's own"
TRANSFERS: tuple[Transfer, ...] = (
    Transfer("http-down", "HTTP body", "http", "down", "down", _RANGE),
    Transfer("grpc-down", "gRPC stream", "grpc_stream", "down", "down", _OWN),
    Transfer("http-up", "HTTP body", "http", "up", "up", "no"),
    Transfer("http-form", "multipart form", "http", "form", "up", "no"),
    Transfer("grpc-up", "gRPC stream", "grpc_stream", "up", "up", _OWN),
    Transfer("http-rows", "NDJSON", "http", "rows", "rows", "no"),
    Transfer("grpc-rows", "gRPC stream of rows", "grpc_stream", "rows", "rows", "no"),
)


async def run(bench: Bench) -> None:
    """Interleaved rounds, with processes of their own each time: what another transfer left would be free to take."""
    size, rows = bench.either((4 << 20, 2_000), (64 << 20, 100_000))
    expected = {"down": hash_of(size), "up": hash_of(size), "rows": _rows_hash(rows)}
    for number, transfer in bench.interleaved(TRANSFERS):
        bench.say(f"{NAME}: round {number + 1} of {bench.rounds}, {transfer.title} {transfer.group}")
        amount = rows if transfer.group == "rows" else size
        row = await _moved(transfer, amount)
        if row["answer_sha256"] != expected[transfer.group]:
            raise Unequal(f"{transfer.title} moved something else: not shown")
        names = {"experiment": NAME, "level": "bare", "variant": transfer.name, "kind": "bulk", "round": number}
        bench.folder.add({**names, "group": transfer.group, "amount": amount, **row})
    if not bench.bare:
        await bulk.run(bench)


def _rows_hash(count: int) -> str:
    return hashlib.sha256(b"".join(str(number % PLACES + 1).encode() for number in range(count))).hexdigest()


async def _moved(transfer: Transfer, amount: int) -> dict[str, Any]:
    module = f"bench.compare.bulk.{transfer.module}"
    async with worker(_SIDE, module) as server, worker(_SIDE, module) as client:
        link = Link(await server.call("serve"))
        # Code paths are warm, and memory has what it always has.
        await client.call("transfer", link=link, what=transfer.what, size=min(amount, 1_000))
        before = [await side.call("usage") for side in (server, client)]
        held = forget_peaks([server.pid, client.pid])
        done = await client.call("transfer", link=link, what=transfer.what, size=amount)
        growth = held.growth()
        after = [await side.call("usage") for side in (server, client)]
        cpu = [late["cpu"] - early["cpu"] for early, late in zip(before, after, strict=True)]
        row = {"seconds": done["seconds"], "answer_sha256": done["sha256"], "cpu_server": cpu[0], "cpu_client": cpu[1]}
        row |= {"growth_server": growth[0], "growth_client": growth[1]} if growth else {}
        if transfer.what != "down":
            return row
        size = CANCELLED_PARTS * amount
        cancelled = await client.call("give_up", link=link, what="down", size=size, after=0.1)
        sent, at = await _stopped(server)
        return row | {"stopped_ms": max(0.0, at - cancelled) * 1e3, "cancelled_sent": sent - after[0]["sent"]}


async def _stopped(server: Any) -> tuple[int, float]:
    """The bytes that the sender has sent, and when last, once it sends no more (by the machine's monotonic clock)."""
    async with asyncio.timeout(30):
        last = await server.call("usage")
        while True:
            await asyncio.sleep(0.2)
            now = await server.call("usage")
            if now["sent"] == last["sent"]:
                return int(now["sent"]), float(now["sent_at"])
            last = now
