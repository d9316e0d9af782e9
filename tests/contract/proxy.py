"""A TCP proxy whose connections can be cut, as a network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Forwards connections to one server until they are cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.refusing = False

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        ends = {writer, there_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._forward(reader, there_writer))
                both_ways.create_task(self._forward(there_reader, writer))
        finally:
            self._writers -= ends

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while received := await reader.read(1 << 16):
                writer.write(received)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port of this machine."""
    forwarding = Proxy(host, port)
    server = await asyncio.start_server(forwarding.serve, "127.0.0.1", 0)
    forwarding.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarding
    finally:
        server.close()
        forwarding.cut()
