"""The content of a transfer: any amount of the same bytes, its hash, and what a sender has sent so far."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

PIECE = 64 << 10
_BYTES = random.Random(6).randbytes(PIECE)  # noqa: S311 - content that does not compress, the same each time


@dataclass
class Sent:
    """Bytes that this process has given to its library, and when it last did (the machine's monotonic clock)."""

    bytes: int = 0
    at: float = 0.0

    def add(self, size: int) -> None:
        self.bytes += size
        self.at = time.monotonic()


SENT = Sent()


def pieces(size: int, offset: int = 0) -> Iterator[bytes]:
    """The content from `offset` to `size`, in pieces."""
    while offset < size:
        start = offset % PIECE
        piece = _BYTES[start : start + size - offset]
        offset += len(piece)
        yield piece


async def sending(size: int, offset: int = 0) -> AsyncIterator[bytes]:
    """The same, noting what has been sent.

    Each piece gives the loop a turn: a library that no longer waits for a client that has disconnected could not notice
    it, and would be given all there is.
    """
    for piece in pieces(size, offset):
        SENT.add(len(piece))
        yield piece
        await asyncio.sleep(0)


def hash_of(size: int) -> str:
    """SHA-256 of the content, in hex."""
    found = hashlib.sha256()
    for piece in pieces(size):
        found.update(piece)
    return found.hexdigest()
