"""The counting proxy counts exactly, and stands for a distance or a broken line when set to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.compare.measure.proxies import RETRANSMISSION_TIMEOUT, Distance, proxy


@asynccontextmanager
async def answering(factor: int) -> AsyncIterator[int]:
    """A server that answers each piece with the same, `factor` times; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data * factor)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def asked(port: int, text: bytes, size: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    answer = await reader.readexactly(size)
    writer.close()
    return answer


async def test_every_byte_is_counted_once() -> None:
    """Up, down, in all and by connection, to the byte; and the bytes are passed on unchanged."""
    async with answering(3) as port, proxy(port, keep=True) as counting:
        assert await asked(counting.port, b"12345", 15) == b"12345" * 3
        assert await asked(counting.port, b"x" * 100_000, 300_000) == b"x" * 300_000
        await counting.settled()
        assert (counting.up, counting.down) == (100_005, 300_015)
        assert [(len(each.up), len(each.down)) for each in counting.recorded] == [(5, 15), (100_000, 300_000)]
        assert bytes(counting.recorded[0].up) == b"12345"


async def test_a_distance_costs_a_handshake_and_a_round_trip() -> None:
    """With 50 ms one way, the first answer of a new connection comes after four times that, and not before."""
    async with answering(1) as port, proxy(port, Distance(0.05)) as far:
        began = time.perf_counter()
        await asked(far.port, b"hello", 5)
        assert time.perf_counter() - began >= 0.19


async def test_a_lost_piece_comes_late_and_in_order() -> None:
    """With every piece lost once, an answer takes two retransmission timeouts more, and is still the same."""
    async with answering(1) as port, proxy(port, Distance(0.0, loss=1.0)) as lossy:
        began = time.perf_counter()
        assert await asked(lossy.port, b"hello", 5) == b"hello"
        assert time.perf_counter() - began >= 2 * RETRANSMISSION_TIMEOUT - 0.01


async def test_a_connection_can_be_cut_inside_an_answer() -> None:
    """The client has the bytes before the cut, to the byte, and then its connection is gone."""
    async with answering(1) as port, proxy(port, keep=True) as cutting:
        cutting.cut_after = 3
        with pytest.raises(asyncio.IncompleteReadError) as cut:
            await asked(cutting.port, b"hello", 5)
        assert cut.value.partial == b"hel"
        assert (cutting.down, bytes(cutting.recorded[0].down)) == (3, b"hel")


async def test_a_cut_between_two_answers_leaves_the_first_whole() -> None:
    """A piece that ends where the cut is arrives; of the next one nothing does."""
    async with answering(1) as port, proxy(port) as cutting:
        cutting.cut_after = 5
        reader, writer = await asyncio.open_connection("127.0.0.1", cutting.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"again")
        assert await reader.read() == b""
        writer.close()


async def test_a_stalled_server_answers_nothing() -> None:
    """What is sent is counted; nothing comes back."""
    async with answering(1) as port, proxy(port) as stalled:
        stalled.stalled = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asked(stalled.port, b"hello", 5)
        assert (stalled.up, stalled.down) == (5, 5)
