"""The load: keep-alive HTTP/1.1 connections in a process of their own, as cheap as Python has them.

Says that it has started, then reads one job a line on standard input and answers each with one line of what came of it,
both in JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.roles import say

_HEAD_END = b"\r\n\r\n"


@dataclass
class Job:
    """Requests for `path` over so many connections for so long. "{n}" in head or body becomes a number of its own."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    connections: int = 16
    seconds: float = 1.0
    prefix: str = ""

    def request(self, number: int) -> bytes:
        return self._template % (b"%d" % number) if b"%s" in self._template else self._template

    def __post_init__(self) -> None:
        url = urlsplit(self.url)
        headers = {"Host": url.netloc, "User-Agent": "bench", **self.headers}
        if self.body:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(self.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text = f"{self.method} {url.path}{'?' if url.query else ''}{url.query} HTTP/1.1\r\n{lines}\r\n{self.body}"
        self._template = text.replace("{n}", f"{self.prefix}%s").encode()


class Connection(asyncio.Protocol):
    """Sends a request, waits for its whole answer, sends the next."""

    def __init__(self, job: Job, result: Result) -> None:
        self._job = job
        self._result = result
        self._buffer = bytearray()
        self._missing = -1
        self._began = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            self._result.statuses[head[9:12].decode()] += 1
            self._missing = _length(head) - (len(self._buffer) - end - 4)
            self._buffer.clear()
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._missing = -1
            now = time.perf_counter()
            self._result.taken.append(now - self._began)
            if now < self._result.until:
                self._next()
            else:
                self.done.set_result(None)
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server has closed the connection"))

    def _next(self) -> None:
        self._result.sent += 1
        self._began = time.perf_counter()
        self._transport.write(self._job.request(self._result.sent))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@dataclass
class Result:
    until: float
    sent: int = 0
    taken: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


async def run(job: Job) -> dict[str, Any]:
    url = urlsplit(job.url)
    began = time.perf_counter()
    result = Result(began + job.seconds)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(job, result), url.hostname or "", url.port or 0)
        for _ in range(job.connections)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    seconds = time.perf_counter() - began
    taken = sorted(result.taken)
    return {
        "requests": len(taken),
        "rate": len(taken) / seconds,
        "p50_ms": taken[len(taken) // 2] * 1000,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1000,
        "statuses": dict(result.statuses),
    }


def main() -> None:
    say("ready")
    for line in sys.stdin:
        say(json.dumps(uvloop.run(run(Job(**json.loads(line))))))


if __name__ == "__main__":
    main()
