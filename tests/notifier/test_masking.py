"""RFC 6455, 5.1: a client masks its frames, and one that does not is closed 1002."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.notifier.conftest import Copy, Stage, token

PING = b'{"action":"ping"}'
HANDSHAKE = (
    "GET {path}?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSED_1002 = b"\x88\x02" + struct.pack("!H", 1002)
PONG = b'\x81\x0f{"type":"pong"}'


def frame(payload: bytes, *, masked: bool = True, opcode: int = 1) -> bytes:
    """A final frame; the mask is zero, so that the payload stays as it is."""
    mask = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, mask | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, mask | 127, size)
    return head + (bytes(4) if masked else b"") + payload


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@asynccontextmanager
async def connected(copy: Copy, early: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection after its handshake, together with which `early` was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", copy.port)
    try:
        async with asyncio.timeout(10):
            writer.write(HANDSHAKE.format(path="/notifications", token=token()).encode() + early)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize("opcode", [1, 2, 8, 9, 10])
@pytest.mark.parametrize("size", [0, 17, 125, 126, 65_535, 65_536])
async def test_unmasked_frame_closes_1002(stage: Stage, opcode: int, size: int) -> None:
    """An unmasked frame of whatever kind and size ends the connection with 1002 (protocol error)."""
    async with stage.notifier() as copy, connected(copy) as (reader, writer):
        writer.write(frame(bytes(size), masked=False, opcode=opcode))
        assert await reader.read() == CLOSED_1002


@pytest.mark.parametrize("split", [whole, byte_by_byte])
@pytest.mark.parametrize("size", [17, 125, 126, 300, 65_536])
async def test_masked_frames_are_read_as_ever(stage: Stage, size: int, split: Callable[[bytes], list[bytes]]) -> None:
    """Masked frames of every size are served, however their bytes come, until one is not masked."""
    async with stage.notifier() as copy, connected(copy) as (reader, writer):
        sent = frame(PING.ljust(size)) + frame(PING)
        for part in split(sent) if size < 1000 else [sent[:100], sent[100:]]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readexactly(2 * len(PONG)) == PONG + PONG
        writer.write(frame(PING, masked=False))
        assert await reader.read() == CLOSED_1002


async def test_frames_that_come_with_the_handshake_are_checked_too(stage: Stage) -> None:
    """A client that does not wait for the handshake's answer must mask as well."""
    async with stage.notifier() as copy, connected(copy, early=frame(PING, masked=False)) as (reader, _):
        assert await reader.read() == CLOSED_1002
