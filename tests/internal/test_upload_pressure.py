"""What the gateway holds of an upload: little, however the client sends and whether or not storage takes it."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chassis.errors import Kind, ShopError
from chassis.observability.tracing import Telemetry
from gateway.clients.storage import PIECE, pieces_of
from tests.gateway.fakes import Behaviour, running_shop
from tests.internal.standstill import standstill
from tests.waiting import eventually

PART = 64 << 10
# The buffers of three connections' ends, ours and the system's; far less than the largest file.
MAX_ON_ITS_WAY = 24 << 20


@dataclass
class Hesitant(Behaviour):
    """Takes nothing of an upload until it is over, and refuses it then."""

    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def note(self, request: Any) -> None:
        await super().note(request)
        await self.over.wait()
        raise ShopError("FORBIDDEN", "not this one", Kind.FORBIDDEN)


async def test_an_upload_that_is_not_taken_holds_up_its_client(tmp_path: Path) -> None:
    """A client that sends without end comes to a stop when storage stops taking: the gateway pulls no further."""
    async with running_shop(tmp_path, Telemetry("test")) as shop:
        shop.storage.behaviour = hesitant = Hesitant()
        url = urlsplit(str(shop.client.base_url))
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        token = await shop.token()
        writer.write(
            f"POST /v1/files HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {token}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0

        async def send_without_end() -> None:
            nonlocal sent
            while True:
                writer.write(f"{PART:x}\r\n".encode() + bytes(PART) + b"\r\n")
                await writer.drain()
                sent += PART

        sending = asyncio.create_task(send_without_end())
        try:
            await eventually(lambda: hesitant.requests)
            stopped = await standstill(lambda: sent)
            assert not sending.done(), "the client was refused, not held up"
            assert stopped < MAX_ON_ITS_WAY
        finally:
            sending.cancel()
            hesitant.over.set()
            writer.close()


async def trickle(body: bytes, part: int) -> AsyncGenerator[bytes, None]:
    """A body in parts of this size."""
    for start in range(0, len(body), part):
        yield body[start : start + part]


@pytest.mark.parametrize("part", [100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
async def test_pieces_are_as_large_as_the_contract_allows(part: int) -> None:
    """A body in parts of any size makes few pieces of at most 256 KiB, with its bytes in their order."""
    body = os.urandom(3 * PIECE + 1)
    pieces = [piece async for piece in pieces_of(trickle(body, part))]
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= PIECE
    assert all(len(one) + len(next_one) > PIECE for one, next_one in pairwise(pieces))


async def test_bytes_that_arrive_one_by_one_are_not_kept_one_by_one() -> None:
    """The parts of a piece take no more memory than their bytes: objects for each would take thirty times as much."""
    body = os.urandom(PIECE + 1)
    tracemalloc.start()
    try:
        sizes = [len(piece) async for piece in pieces_of(trickle(body, 2))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) == len(body)
    assert peak < 4 * PIECE
