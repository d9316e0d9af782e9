"""A TCP proxy on the loopback that counts every byte, and can stand for a distance or break a connection.

It does not touch what it passes on. `delay` is one way, in seconds; a connection's first bytes wait for a TCP
handshake too, since the loopback's own takes no time: a client may send after one round trip, and a server that speaks
first after one and a half. `loss` is the share of pieces that come late
by a retransmission timeout, with all that is behind them: TCP keeps the order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

RETRANSMISSION_TIMEOUT = 0.2  # Linux's least
_PIECE = 1 << 16
_QUIET, _SETTLE_TIMEOUT = 0.06, 3.0
# Pieces on their way in each direction of a connection, before its sender has to wait.
_IN_FLIGHT = 1_024


@dataclass
class Recorded:
    """One connection: all that went up (client to server) and down."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


@dataclass
class Clocks:
    """Round trips, from no connection, that had to pass before each side's present state (Lamport's clocks).

    The client knows of its connection after one round trip, the server after one and a half; what is sent arrives half
    a round trip later. What a side sends before something reaches it does not depend on that: over a distance the
    clocks count what is waited for.
    """

    client: float = 1.0
    server: float = 1.5


@dataclass
class Distance:
    """Properties of the proxied network."""

    delay: float = 0.0
    loss: float = 0.0
    seed: int = 1


class Proxy:
    """Forwards connections to one port of this machine."""

    def __init__(self, target: int, distance: Distance, *, keep: bool) -> None:
        self.target = target
        self._distance = distance
        self._keep = keep
        self._draw = random.Random(distance.seed)  # noqa: S311 - a repeatable network
        self._connections: set[asyncio.StreamWriter] = set()
        self._changed = 0.0
        self.port = 0
        self.accepted = 0
        self.recorded: list[Recorded] = []
        self.clocks: list[Clocks] = []
        self.up = self.down = 0
        # Pass on so many more bytes of answers, then cut every connection; None: never. And: pass nothing on any more.
        self.cut_after: int | None = None
        self.stalled = False
        self._stopped = False

    async def settled(self) -> None:
        """Wait until nothing has moved for a moment: acknowledgements follow the answer. Raises `TimeoutError`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_SETTLE_TIMEOUT):
            while (left := self._changed + _QUIET - loop.time()) > 0:  # noqa: ASYNC110 - silence raises no event
                await asyncio.sleep(left)

    def stop(self) -> None:
        """End like a server that is stopped: connections are reset, and so are new ones."""
        self._stopped = True
        self.cut()

    def cut(self) -> None:
        """Abort every connection."""
        for writer in self._connections:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._stopped:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there_writer}
        self._connections |= ends
        record, clocks = Recorded(), Clocks()
        self.recorded.append(record)
        self.clocks.append(clocks)
        delay = self._distance.delay
        try:
            await asyncio.gather(
                self._forward(reader, there_writer, record.up, clocks, 2 * delay),
                self._forward(there_reader, writer, record.down, clocks, 3 * delay, answers=True),
            )
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kept: bytearray,
        clocks: Clocks,
        handshake: float,
        *,
        answers: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes, float]] = asyncio.Queue(_IN_FLIGHT)
        sending = asyncio.create_task(self._send(queue, writer, clocks, answers=answers))
        not_before = loop.time() + handshake
        try:
            cut = False
            while not cut and (data := await reader.read(_PIECE)):
                if answers:
                    data, cut = self._before_the_cut(data)
                self._count(data, kept, answers=answers)
                due = max(not_before, loop.time()) + self._distance.delay
                if self._distance.loss and self._draw.random() < self._distance.loss:
                    due += RETRANSMISSION_TIMEOUT
                    not_before = due - self._distance.delay
                if data and not (answers and self.stalled):
                    await queue.put((due, data, (clocks.server if answers else clocks.client) + 0.5))
            await queue.put((0.0, b"", 0.0))
            await sending
            if cut:
                # Wait until the system has all that was written: an abort drops the rest.
                writer.transport.set_write_buffer_limits(0)
                await writer.drain()
                self.cut()
            elif writer.can_write_eof():
                writer.write_eof()
        except OSError:  # either end has gone
            return
        finally:
            sending.cancel()

    def _before_the_cut(self, data: bytes) -> tuple[bytes, bool]:
        """The part of an answer's piece that is still passed on, and whether the connections are cut after it."""
        if self.cut_after is None:
            return data, False
        passed, cut = data[: self.cut_after], self.cut_after < len(data)
        self.cut_after -= len(passed)
        return passed, cut

    def _count(self, data: bytes, kept: bytearray, *, answers: bool) -> None:
        self._changed = asyncio.get_running_loop().time()
        if answers:
            self.down += len(data)
        else:
            self.up += len(data)
        if self._keep:
            kept += data

    async def _send(
        self,
        queue: asyncio.Queue[tuple[float, bytes, float]],
        writer: asyncio.StreamWriter,
        clocks: Clocks,
        *,
        answers: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data, known = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                return
            if answers:
                clocks.client = max(clocks.client, known)
            else:
                clocks.server = max(clocks.server, known)
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy(target: int, distance: Distance | None = None, *, keep: bool = False) -> AsyncIterator[Proxy]:
    """A proxy on a free port; `keep`: every byte is recorded, too."""
    forwarding = Proxy(target, distance or Distance(), keep=keep)
    server = await asyncio.start_server(forwarding.serve, "127.0.0.1", 0)
    forwarding.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarding
    finally:
        server.close()
        forwarding.cut()
