"""Peers that misbehave: cut off without a word, silent, stopped, flooding; and what is counted of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import websockets

from tests.notifier.conftest import Copy, Stage, an_event, counted, numbered, token
from tests.notifier.processes import process
from tests.waiting import eventually

_UPGRADE = (
    "GET /notifications?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Cable:
    """A proxy that can be cut: then it forwards nothing any more, without an error."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._whole = asyncio.Event()
        self._whole.set()

    def cut(self) -> None:
        self._whole.clear()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Cable]:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            for source, sink in ((reader, back), (there, writer)):
                tasks.add(asyncio.create_task(self._forward(source, sink)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(1 << 16):
                await self._whole.wait()
                sink.write(chunk)
                await sink.drain()
        finally:
            sink.transport.abort()


async def test_cut_cable_is_noticed(stage: Stage) -> None:
    """A client whose network is gone without a FIN is dropped after a missed pong, and counted."""
    async with stage.notifier(notifier_heartbeat=1.0) as copy, Cable(copy.port).laid() as cable:
        through = Copy(cable.port).client(ping_interval=None)
        client = await through.__aenter__()
        await client.subscribe("order.*")
        assert await counted(copy, "notifier_connections", protocol="WebSocket") == 1
        cable.cut()

        async def gone() -> bool:
            return await counted(copy, "notifier_connections", protocol="WebSocket") == 0

        await eventually(gone)
        assert await counted(copy, "notifier_drops_total", reason="dead_peer") == 1
        client.socket.transport.abort()
        await through.__aexit__(None, None, None)


async def test_dead_peer_with_a_backlog_is_let_go(stage: Stage) -> None:
    """What waits for a dead peer is given up with it, rather than kept until the kernel gives up."""
    async with stage.notifier(notifier_heartbeat=1.0, notifier_backlog=1 << 30, notifier_send_timeout=60.0) as copy:
        reader, writer = await asyncio.open_connection("127.0.0.1", copy.port, limit=1 << 10)
        writer.write(_UPGRADE.format(token=token()).encode())
        await reader.readuntil(b"\r\n\r\n")
        # One masked frame: {"action":"subscribe","topics":["#"]}
        payload = b'{"action":"subscribe","topics":["#"]}'
        writer.write(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        assert b"subscribed" in await reader.readuntil(b"}")
        await stage.broker.publish([an_event(filler="x" * 32_000) for _ in range(400)])

        async def dropped() -> bool:
            return await counted(copy, "notifier_drops_total", reason="dead_peer") == 1

        await eventually(dropped)
        received = 0
        async with asyncio.timeout(30):
            while part := await reader.read(1 << 20):
                received += len(part)
        # What the kernel had taken still comes.
        assert received < 400 * 32_000
        writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /notifications HTTP/1.1\r\nHost: x\r\n"])
async def test_connection_without_a_request_is_cut(stage: Stage, said: bytes) -> None:
    """A client that connects and never completes a request is disconnected; one that has made one is not."""
    async with stage.notifier(notifier_timeout=2.0) as copy, copy.client() as patient:
        reader, writer = await asyncio.open_connection("127.0.0.1", copy.port)
        writer.write(said)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
        await patient.silence()


async def test_stopped_reader_among_many_slows_no_other_and_holds_little(stage: Stage) -> None:
    """One of thirty readers stops: the others get everything at once, and the copy holds no more than its backlog."""
    events, size = 300, 30_000
    async with process(stage) as (running, copy), AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(copy.client()) for _ in range(30)]
        stopped = await stack.enter_async_context(copy.client(max_queue=1, ping_interval=None))
        for client in (*readers, stopped):
            await client.subscribe("order.*")
        held = await resident(running.pid)
        slowest = 0.0
        for _ in range(events):
            began = time.monotonic()
            await stage.broker.publish([an_event(filler="x" * size)])
            await asyncio.gather(*(client.receive() for client in readers))
            slowest = max(slowest, time.monotonic() - began)
        # Below the seconds for which the copy waits for one that has stopped.
        assert slowest < 8.0
        # The events that all of them share are kept for those who resume: 8 MiB of data, and what was made of it.
        assert await resident(running.pid) - held < 40 << 20
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await stopped.receive()
        # The close frame is last: it is lost where the events above took longer than the copy waits for its reply.
        assert stopped.socket.close_code in (1013, 1006)
        assert await counted(copy, "notifier_drops_total", reason="too_slow") == 1


async def resident(pid: int) -> int:
    """A process's resident memory in bytes."""
    import psutil

    return int(psutil.Process(pid).memory_info().rss)


async def test_flood_is_read_no_faster_than_allowed(stage: Stage) -> None:
    """Pings of the protocol count as frames: a flood is read at the client's rate, and no other client waits."""
    async with (
        stage.notifier(notifier_rate=5.0, notifier_burst=5.0) as copy,
        copy.client(ping_interval=None) as flood,
        copy.client() as other,
    ):
        await other.subscribe("order.*")
        began = time.monotonic()
        for _ in range(64):
            pong = asyncio.ensure_future(await flood.socket.ping())
        await stage.broker.publish(numbered(1, 1))
        assert (await other.receive())["data"]["number"] == 1
        assert not pong.done()
        await pong
        assert time.monotonic() - began > 4.5  # after each that is too many, a fifth of a second


@pytest.mark.parametrize(("code", "answer"), [(b"\x03\xee", 1002), (b"\x03\xe8", 1000), (b"", 1000)])
async def test_close_frame_is_answered(stage: Stage, code: bytes, answer: int) -> None:
    """A close frame is answered; one with the code that means there was none, with a protocol error."""
    async with stage.notifier() as copy:
        reader, writer = await asyncio.open_connection("127.0.0.1", copy.port)
        writer.write(_UPGRADE.format(token=token()).encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes([0x88, 0x80 | len(code), 0, 0, 0, 0]) + code)
        async with asyncio.timeout(20):
            assert await reader.read() == b"\x88\x02" + answer.to_bytes(2, "big")
        writer.close()


async def test_connections_and_deliveries_are_counted(stage: Stage) -> None:
    """`/metrics` says how many clients there are and how many events were written to them, by protocol."""
    headers = {"Authorization": f"Bearer {token()}"}
    async with (
        stage.notifier() as copy,
        copy.client() as one,
        copy.client() as two,
        httpx.AsyncClient(timeout=60) as http,
    ):
        for client in (one, two):
            await client.subscribe("order.*")
        async with http.stream("GET", copy.stream_url, params={"topics": "order.*"}, headers=headers) as stream:
            lines = stream.aiter_lines()
            while await anext(lines) != "id: 0":
                pass
            await stage.broker.publish(numbered(1, 3))
            assert len(await one.events(3)) == len(await two.events(3)) == 3
            assert await counted(copy, "notifier_connections", protocol="WebSocket") == 2
            assert await counted(copy, "notifier_connections", protocol="SSE") == 1
            assert await counted(copy, "notifier_deliveries_total", protocol="WebSocket") == 6
            assert await counted(copy, "notifier_deliveries_total", protocol="SSE") == 3
        async with copy.client() as late:
            await late.subscribe("order.*", after="1")
            assert len(await late.events(2)) == 2
        assert await counted(copy, "notifier_deliveries_total", protocol="WebSocket") == 8
        assert await counted(copy, "notifier_drops_total", reason="resync") == 0
