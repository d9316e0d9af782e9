"""The load of `make bench-webhooks` ends when it cannot go on, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.webhooks import run as webhooks


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that gives each request this answer, or closes the connection where it is empty; its port."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16) and answer:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def test_a_load_that_fails_ends_the_benchmark() -> None:
    """The process that measures does not wait for one that is no more."""
    async with answering(b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n") as port:
        with pytest.raises(RuntimeError, match="the load ended with exit code 1"):
            await asyncio.to_thread(webhooks.load_from_elsewhere, port, 0.1)


async def test_a_connection_that_ends_is_not_waited_for() -> None:
    """The server has closed it."""
    async with answering(b"") as port:
        with pytest.raises(ConnectionError):
            await webhooks.load_all(port, 0.1)


async def test_requests_that_run_out_are_not_taken_for_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate would be of the requests that there were."""
    async with answering(OK) as port:
        monkeypatch.setattr(webhooks, "MAX_PER_SECOND", 100_000)
        assert await webhooks.load_all(port, 1.0)
        monkeypatch.setattr(webhooks, "MAX_PER_SECOND", 100)
        with pytest.raises(RuntimeError, match="more than 100 requests a second"):
            await webhooks.load_all(port, 10.0)


async def test_each_variant_is_compared_with_a_turn_of_the_floor_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine that becomes slower all the time; the first round is left out."""
    loaded: list[int] = []

    def load(port: int, _: float) -> tuple[int, list[float]]:
        loaded.append(port)
        return 1_000 - len(loaded), [1.0]

    monkeypatch.setattr(webhooks, "load_from_elsewhere", load)
    series = await webhooks.beside_floor(1, {"sqlite": 2, "postgresql": 3}, 2, 1.0)
    assert loaded == [2, 1, 3, 1, 1, 2, 1, 3, 2, 1, 3, 1]
    assert (series["sqlite"].rates, series["sqlite"].floors) == ([994, 991], [995, 990])
    assert (series["postgresql"].rates, series["postgresql"].floors) == ([992, 989], [993, 988])
    assert series["floor"].summary()["ratio"] == 1
