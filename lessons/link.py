"""A way to a server that counts what crosses it and can be cut, as networks do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Link:
    """A way to a server, on a port of its own, that counts what crosses it and can be cut."""

    def __init__(self, target: str) -> None:
        """`target` is the server's URL."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._open: set[asyncio.StreamWriter] = set()
        self._up = True
        self.requests = self.taken = self.refused = self.size = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """End all connections, and take no other."""
        self._up = False
        for writer in tuple(self._open):
            writer.close()
        await asyncio.sleep(0)

    def mend(self) -> None:
        """Take connections again."""
        self._up = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            self.refused += 1
            writer.close()
            return
        self.taken += 1
        there, back = await asyncio.open_connection(*self._target)
        both = {writer, back}
        self._open |= both
        try:
            await asyncio.gather(self._carry(reader, back, asking=True), self._carry(there, writer))
        finally:
            self._open -= both
            for each in both:
                each.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asking: bool = False) -> None:
        """Carry bytes in one direction, until there are no more; the other one ends with it."""
        with suppress(ConnectionError):
            while content := await reader.read(1 << 16):
                self.requests += asking and content.split(b" ", 1)[0] in (b"GET", b"POST")
                self.size += len(content)
                writer.write(content)
                await writer.drain()
        writer.close()
