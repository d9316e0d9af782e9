"""HTTP byte by byte: requests as no client library would send them, and the answers to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The problem that it holds, which names its trace."""
        assert self.headers["content-type"].startswith("application/problem+json"), self
        content: dict[str, Any] = json.loads(self.body)
        assert content["status"] == self.status
        assert len(content["trace_id"]) == 32, content
        assert content["trace_id"] in self.headers["traceparent"]
        return content


async def answers(port: int, *pieces: bytes, within: float = 10.0) -> list[Answer]:
    """Everything that is answered until the server closes the connection, or has nothing more to say.

    The last request of ours has the connection closed, so that no answer can be missed.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(within):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await _read_all(reader)
    finally:
        writer.close()


async def answer(port: int, *pieces: bytes) -> Answer:
    """The one answer."""
    (only,) = await answers(port, *pieces)
    return only


async def _read_all(reader: asyncio.StreamReader) -> list[Answer]:
    found: list[Answer] = []
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                raise
            return found
        except ConnectionError:
            # A server that closes on what it has not read: its answers have come before that.
            return found
        if head.startswith(b"HTTP/1.1 100 "):
            continue  # an interim answer: the final one follows
        found.append(await _read(reader, head))


async def _read(reader: asyncio.StreamReader, head: bytes) -> Answer:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status, *_ = first.split(" ")
    assert version in ("HTTP/1.0", "HTTP/1.1"), first
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if int(status) in (101, 204):
        return Answer(int(status), headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        return Answer(int(status), headers, await _chunks(reader))
    return Answer(int(status), headers, await reader.readexactly(int(headers["content-length"])))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def request(target: str = "/nowhere", *fields: str, method: str = "GET", body: bytes = b"", host: str = "x") -> bytes:
    """A request in HTTP/1.1 after which the connection is closed; its length only where it has a body."""
    own: Sequence[str] = (f"Content-Length: {len(body)}",) if body else ()
    connection = () if any(field.lower().startswith("connection:") for field in fields) else ("Connection: close",)
    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", *connection, *fields, *own)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    """Connections that stay open, from addresses of the test's choice."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self._port = port
        self._stack = stack

    async def connect(self, count: int, address: str = "127.0.0.1") -> list[Connection]:
        return [await self._one(address) for _ in range(count)]

    async def _one(self, address: str) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))
        self._stack.callback(writer.close)
        return reader, writer


def closed(connections: list[Connection]) -> int:
    """How many of them the server has closed."""
    return sum(reader.at_eof() for reader, _ in connections)
