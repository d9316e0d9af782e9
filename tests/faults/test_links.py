"""The link proxy, with real sockets: each toxic does what it says, to old and new connections at once."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from shop.errors import Refused
from shop.fault.links.client import Links, NotListening
from shop.fault.links.control import controlled
from shop.fault.links.plan import socket_path
from shop.fault.links.proxy import Link, LinkSpec, Proxy, proxying
from shop.fault.links.toxics import Kind, Toxic, parse
from tests.shop import free_ports
from tests.waiting import eventually

NAME = "a->b"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Echo:
    """A server that sends back what it gets, and remembers it."""

    port: int = 0
    got: bytearray = field(default_factory=bytearray)
    ended: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                self.got += chunk
                writer.write(chunk)
                await writer.drain()
        self.ended += 1
        writer.close()


@dataclass
class Lab:
    """A link to an echo server."""

    proxy: Proxy
    echo: Echo
    port: int
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def link(self) -> Link:
        return self.proxy.links[NAME]

    async def connect(self) -> Ends:
        ends = await asyncio.open_connection("127.0.0.1", self.port)
        self.opened.append(ends[1])
        return ends

    async def connected(self) -> Ends:
        """A connection over which a byte has gone there and back."""
        ends = await self.connect()
        assert await said(ends, b"!") == b"!"
        return ends

    def set(self, *words: str, seconds: float = 60.0) -> str:
        return self.proxy.set([NAME], parse(words), seconds).id


async def said(ends: Ends, text: bytes) -> bytes:
    """What comes back of a text: all of it, or what had come when the connection ended."""
    ends[1].write(text)
    try:
        return await asyncio.wait_for(ends[0].readexactly(len(text)), 20)
    except asyncio.IncompleteReadError as end:
        return end.partial


@asynccontextmanager
async def lab_at(upstream: Echo | None = None) -> AsyncIterator[Lab]:
    echo = upstream or Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    (port,) = free_ports(1)
    async with proxying([LinkSpec(NAME, "a", "b", "TCP", ("127.0.0.1", port), ("127.0.0.1", echo.port))]) as proxy:
        lab = Lab(proxy, echo, port)
        try:
            yield lab
        finally:
            for writer in lab.opened:
                writer.close()
            server.close()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with lab_at() as made:
        yield made


async def test_an_untouched_link_carries_every_byte_and_the_end(lab: Lab) -> None:
    """A megabyte goes there and back as it was, and so does the end of each direction."""
    reader, writer = await lab.connect()
    sent = bytes(range(256)) * 4096
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(-1), 20) == sent
    assert bytes(lab.echo.got) == sent
    await eventually(lambda: lab.link.snapshot(1)["open"] == 0)
    assert lab.link.snapshot(60)["answer_bytes"] == len(sent)


async def test_probability_0_touches_nothing(lab: Lab) -> None:
    """Every toxic of any link that can be drawn, at probability 0: bytes and connections pass, and nothing is met."""
    old = await lab.connected()
    for kind in Kind:
        if kind not in (Kind.REFUSE, Kind.ALARM):
            lab.proxy.set([NAME], [Toxic(kind, 5, probability=0)], 60)
    for ends in (old, await lab.connect()):
        assert await said(ends, b"x" * 100_000) == b"x" * 100_000
    assert [fault.met[NAME] for fault in lab.proxy.faults] == [0] * 7


async def test_probability_is_drawn_for_each_connection_from_the_seed(lab: Lab) -> None:
    """Half of the connections, and the same half for the same seed."""
    toxics = parse(["reset", "direction=request", "probability=0.5", "seed=7"])

    async def outcome() -> list[bool]:
        async with lab_at() as fresh:
            fresh.proxy.set([NAME], toxics, 60)
            return [await passes(fresh) for _ in range(12)]

    async def passes(fresh: Lab) -> bool:
        try:
            return await said(await fresh.connect(), b"hello") == b"hello"
        except ConnectionError:
            return False

    first, second = await outcome(), await outcome()
    assert first == second
    assert set(first) == {True, False}


@pytest.mark.parametrize(("words", "both_ways"), [(["delay=200ms"], 0.4), (["delay=200ms", "direction=answer"], 0.2)])
async def test_delay_holds_each_direction_back(lab: Lab, words: list[str], both_ways: float) -> None:
    """On a connection that was there and on a new one."""
    old = await lab.connected()
    fault = lab.set(*words)
    for ends in (old, await lab.connect()):
        began = time.monotonic()
        assert await said(ends, b"late") == b"late"
        assert time.monotonic() - began >= both_ways
    assert sum(lab.proxy.get(fault).met.values()) >= 2


async def test_a_delay_adds_latency_and_no_waiting_in_line(lab: Lab) -> None:
    """Forty chunks that arrive together are late by one delay together, not by forty."""
    ends = await lab.connected()
    lab.set("delay=500ms", "direction=request")
    began = time.monotonic()
    for _ in range(40):
        ends[1].write(b"x" * 100)
        await asyncio.sleep(0)
    assert len(await asyncio.wait_for(ends[0].readexactly(4000), 20)) == 4000
    assert 0.5 <= time.monotonic() - began < 10  # 20 in a line


async def test_jitter_keeps_the_order(lab: Lab) -> None:
    """However late each chunk is, none overtakes another."""
    ends = await lab.connected()
    lab.set("delay=20ms", "jitter=20ms")
    sent = b"".join(b"%04d" % number for number in range(50))
    for start in range(0, len(sent), 4):
        ends[1].write(sent[start : start + 4])
        await asyncio.sleep(0.002)
    assert await asyncio.wait_for(ends[0].readexactly(len(sent)), 20) == sent


async def test_what_is_waiting_goes_on_when_the_delay_is_taken_away(lab: Lab) -> None:
    """Nothing waits for a toxic that is gone."""
    ends = await lab.connected()
    fault = lab.set("delay=300s")
    ends[1].write(b"waiting")
    await eventually(lambda: sum(lab.proxy.get(fault).met.values()))
    assert (await lab.proxy.end(fault)).met == {NAME: 1}
    assert await asyncio.wait_for(ends[0].readexactly(7), 20) == b"waiting"


async def test_rate_bounds_bytes_a_second(lab: Lab) -> None:
    """4000 bytes at 8000 a second take half a second."""
    ends = await lab.connected()
    lab.set("rate=8000", "direction=answer")
    began = time.monotonic()
    assert await said(ends, b"x" * 4000) == b"x" * 4000
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize("fresh", [False, True])
async def test_cut_ends_inside_a_message(lab: Lab, fresh: bool) -> None:
    """After exactly nine bytes of the answer, with a reset, on old and new connections; the request had arrived."""
    old = await lab.connected()
    fault = lab.set("cut=9", "direction=answer")
    reader, writer = (await lab.connect()) if fresh else old
    writer.write(b"twelve bytes")
    assert await asyncio.wait_for(reader.readexactly(9), 20) == b"twelve by"
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(100), 20)
    assert lab.echo.got.endswith(b"twelve bytes")
    assert lab.proxy.get(fault).met == {NAME: 1}


async def test_reset_ends_old_connections_at_once_and_new_ones_when_bytes_cross(lab: Lab) -> None:
    """Both ends of both see it, and what a new one sent has not arrived."""
    old = await lab.connected()
    fault = lab.set("reset")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(old[0].read(1), 20)
    new = await lab.connect()
    new[1].write(b"never")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(new[0].read(1), 20)
    assert b"never" not in lab.echo.got
    assert lab.proxy.get(fault).met == {NAME: 2}
    await eventually(lambda: lab.echo.ended == 2)


async def test_an_answer_can_be_lost_after_the_request_was_delivered(lab: Lab) -> None:
    """`reset direction=answer`: the server has done it, and the client has no answer."""
    ends = await lab.connected()
    lab.set("reset", "direction=answer")
    with pytest.raises(ConnectionResetError):
        await said(ends, b"do it")
    assert lab.echo.got.endswith(b"do it")


async def test_a_black_hole_swallows_the_end_too_and_gives_all_back(lab: Lab) -> None:
    """Nothing passes, not even a close; when it goes, everything arrives, as after a lost route."""
    old, new = await lab.connected(), await lab.connected()
    fault = lab.set("black-hole")
    old[1].write(b"one")
    new[1].write(b"two")
    new[1].write_eof()
    await eventually(lambda: sum(lab.proxy.get(fault).met.values()) == 2)
    assert b"one" not in lab.echo.got
    assert lab.echo.ended == 0
    await lab.proxy.end(fault)
    assert await asyncio.wait_for(old[0].readexactly(3), 20) == b"one"
    assert await asyncio.wait_for(new[0].read(-1), 20) == b"two"


async def test_a_black_hole_in_one_direction(lab: Lab) -> None:
    """Requests arrive, answers do not."""
    ends = await lab.connected()
    lab.set("black-hole", "direction=answer")
    ends[1].write(b"one way")
    await eventually(lambda: lab.echo.got.endswith(b"one way"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ends[0].read(1), 0.3)


async def test_half_open_leaves_the_client_alone_with_a_dead_connection(lab: Lab) -> None:
    """The server has gone, the client hears nothing of it, and is reset when the fault ends."""
    ends = await lab.connected()
    fault = lab.set("half-open")
    await eventually(lambda: lab.echo.ended == 1)
    ends[1].write(b"hello?")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ends[0].read(1), 0.3)
    await eventually(lambda: sum(lab.proxy.get(fault).met.values()) >= 2)
    await lab.proxy.end(fault)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(ends[0].read(1), 20)
    assert await said(await lab.connect(), b"again") == b"again"


async def test_refuse_closes_the_port_and_opens_it_again(lab: Lab) -> None:
    """Connections that were open are reset; new ones are refused, until it ends."""
    old = await lab.connected()
    fault = lab.set("refuse")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(old[0].read(1), 20)
    with pytest.raises(ConnectionRefusedError):
        await lab.connect()
    assert (await lab.proxy.end(fault)).met == {NAME: 1}
    assert await said(await lab.connect(), b"again") == b"again"


async def test_a_fault_ends_by_itself(lab: Lab) -> None:
    """After its seconds, without a request; the count of what it met stays."""
    ends = await lab.connected()
    fault = lab.set("black-hole", seconds=0.3)
    assert await said(ends, b"through") == b"through"
    ended = lab.proxy.get(fault)
    assert ended.ended
    assert ended.met == {NAME: 1}
    assert lab.proxy.faults == []


async def test_a_fault_ends_on_every_link_whatever_one_of_them_meets() -> None:
    """A port that was taken meanwhile is named, and the other link is there again; so is this one once it is free."""
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    ports = free_ports(2)
    specs = [
        LinkSpec(str(port), "a", "b", "TCP", ("127.0.0.1", port), ("127.0.0.1", echo.port)) for port in sorted(ports)
    ]
    async with proxying(specs) as proxy:
        fault = proxy.set([spec.name for spec in specs], parse(["refuse"]), 60.0)
        taken = await asyncio.start_server(echo.serve, "127.0.0.1", min(ports))
        with pytest.raises(OSError, match=r"not listening yet: port .* in use"):
            await proxy.end(fault.id)
        ends = await asyncio.open_connection("127.0.0.1", max(ports))
        assert await said(ends, b"again") == b"again"
        ends[1].close()
        taken.close()
        first = proxy.links[str(min(ports))]

        async def again() -> bool:
            with suppress(OSError):
                ends = await asyncio.open_connection("127.0.0.1", min(ports))
                ends[1].close()
            return first.counts.opened > 0

        await eventually(again)
    server.close()


async def test_a_link_that_waits_for_its_port_stays_closed_for_a_new_fault(lab: Lab) -> None:
    """A new refuse fault keeps the link closed, also once the port is free; its own end opens it."""
    fault = lab.set("refuse")
    taken = await asyncio.start_server(lab.echo.serve, "127.0.0.1", lab.port)
    with pytest.raises(OSError, match="not listening yet"):
        await lab.proxy.end(fault)
    again = lab.set("refuse")
    taken.close()
    await lab.proxy.links[NAME].listen_again()
    with pytest.raises(ConnectionRefusedError):
        await lab.connect()
    await lab.proxy.end(again)
    assert await said(await lab.connect(), b"again") == b"again"


async def test_a_fault_on_a_link_whose_port_was_taken_ends_with_that(lab: Lab, tmp_path: Path) -> None:
    """Over the control socket, too: the fault has ended, and which port cannot be had is said in a sentence."""
    path = socket_path(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    async with controlled(lab.proxy, path):
        links = Links(tmp_path)
        fault = await asyncio.to_thread(links.set, [NAME], parse(["refuse"]), 60.0)
        async with await asyncio.start_server(lab.echo.serve, "127.0.0.1", lab.port):
            with pytest.raises(NotListening, match=f"not listening yet: port {lab.port} .*in use"):
                await asyncio.to_thread(links.end, fault)
        assert await asyncio.to_thread(links.faults) == []


def test_what_is_no_answer_of_the_proxy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an error in plain text: its status and its text are said."""
    monkeypatch.setattr("shop.fault.links.client.httpx.Client.request", lambda *_, **__: httpx.Response(500, text="oh"))
    with pytest.raises(Refused, match="answered 500, and no JSON object: oh"):
        Links(tmp_path).faults()


async def test_faults_are_bounded(lab: Lab) -> None:
    """A hundred at work at once, and not one more."""
    for _ in range(100):
        lab.set("delay=1ms")
    with pytest.raises(ValueError, match="100 faults are at work"):
        lab.set("delay=1ms")


async def test_a_server_that_is_away_resets_who_comes(lab: Lab) -> None:
    """And the link counts the attempts."""
    async with proxying(
        [LinkSpec("x", "a", "b", "TCP", ("127.0.0.1", port := free_ports(1)[0]), ("127.0.0.1", 9))]
    ) as p:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 20)
        assert p.links["x"].snapshot(1)["failed"] == 1
        writer.close()


async def test_a_reader_that_has_stopped_stops_the_sender(lab: Lab) -> None:
    """What waits within the proxy is bounded: the sender is held back, no memory fills."""
    reader, writer = await lab.connect()
    lab.set("black-hole", "direction=request")
    reader._limit = 1 << 30  # type: ignore[attr-defined]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            while True:
                writer.write(b"x" * (1 << 20))
                await writer.drain()
    assert len(lab.echo.got) == 0
    writer.transport.abort()


def test_a_client_that_leaves_before_its_answer_is_no_error() -> None:
    """On the loop that the process has (uvloop), where writing to a closed connection is an error of its own."""
    errors: list[dict[str, Any]] = []

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with lab_at() as lab:
            for leave in ("abort", "close"):
                ends = await lab.connected()
                fault = lab.set("black-hole", "direction=answer")
                ends[1].write(b"hello")
                await eventually(lambda: lab.echo.got.endswith(b"hello"))
                getattr(ends[1].transport, leave)()
                await lab.proxy.end(fault)
                await eventually(lambda: lab.link.snapshot(1)["open"] == 0)
                lab.echo.got.clear()
        gc.collect()

    uvloop.run(scene())
    assert errors == []


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["dealy=50ms"], "unknown toxic dealy"),
        (["delay"], "such as delay=50ms"),
        (["delay=fast"], "write one such as 50ms"),
        (["reset=5"], "write only reset"),
        ([], "name a fault"),
        (["rate=0"], "black-hole"),
        (["delay=1s", "direction=up"], "request, answer or both"),
        (["delay=1s", "probability=2"], "from 0 to 1"),
        (["half-open", "direction=answer"], "whole connection"),
        (["refuse", "probability=0.5"], "closed for all"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(words: list[str], advice: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(ValueError, match=advice):
        parse(words)


def test_amounts_have_units() -> None:
    """Milliseconds and seconds, bytes and kilobytes."""
    toxics = parse(["delay=50ms", "jitter=0.5s", "rate=10kb/s", "cut=9"])
    assert [(toxic.kind, toxic.amount) for toxic in toxics] == [
        (Kind.DELAY, 0.05),
        (Kind.JITTER, 0.5),
        (Kind.RATE, 10240),
        (Kind.CUT, 9),
    ]
