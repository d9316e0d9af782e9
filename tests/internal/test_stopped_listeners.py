"""Listeners that stop reading what is sent to them as it happens: what each costs every process on the way."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.broker import connect as connect_broker
from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY, ProcessSettings, environment
from services.notifier.delivery.replay import READERS
from shop.process_table import TABLE
from tests.forking.popen import fresh_interpreters
from tests.internal.test_big_files import MAX_FOR_A_READER, Memory, _ended
from tests.notifier.conftest import an_event
from tests.shop import Shop, surroundings
from tests.waiting import eventually

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not run: needs /proc/PID (Linux)"),
]

NEEDED = ("users", "notifier", "graphql_server", "gateway")


@dataclass(frozen=True)
class Load:
    """How many events wait, and the bytes of each; how many listeners stop, and how many have done so before them."""

    events: int
    size: int
    listeners: int
    before_them: int


# Few events that are large, or many that are small. Those before them are as many as may read the log at once, so that
# how many of the others do so at a moment, which a busy machine decides, makes no memory grow.
LARGE, SMALL = Load(800, 16 << 10, 24, READERS), Load(20_000, 50, 30, READERS)
TICKS = os.sysconf("SC_CLK_TCK")
# As much as a subscription may ask for makes each of its messages as large as it gets.
ALIASES = " ".join(f"{'a' * 1000}{number}: position" for number in range(15))
SUBSCRIPTION = 'subscription { orderUpdates(after: "0") { %s } }'


def subscribed(fields: str) -> list[dict[str, Any]]:
    """What a GraphQL client says to subscribe to these fields."""
    query = SUBSCRIPTION % fields
    return [{"type": "connection_init"}, {"type": "subscribe", "id": "1", "payload": {"query": query}}]


# The setting with the port, the path, the subprotocol, and what is said once the handshake is done.
Way = tuple[str, str, str, list[dict[str, Any]]]
WAYS: dict[str, Way] = {
    "notifier's WebSocket": (
        "SHOP_NOTIFIER_PORT",
        "/notifications",
        "",
        [{"action": "subscribe", "topics": ["#"], "after": "0"}],
    ),
    "notifier's event stream": ("SHOP_NOTIFIER_PORT", "/notifications/stream?after=0", "", []),
    "GraphQL": (
        "SHOP_GRAPHQL_PORT",
        "/graphql",
        "graphql-transport-ws",
        subscribed(ALIASES),
    ),
}
# What shows, by subprotocol, that the events have begun to come.
FIRST_OF_MANY = {"": b"order.paid", "graphql-transport-ws": b'"next"'}
WAYS["GraphQL through the gateway"] = ("SHOP_GATEWAY_PORT", *WAYS["GraphQL"][1:])
SMALL_OVER_GRAPHQL = (*WAYS["GraphQL"][:3], subscribed("position"))
CASES = [
    *(pytest.param(way, LARGE, id=name) for name, way in WAYS.items()),
    pytest.param(SMALL_OVER_GRAPHQL, SMALL, id="small events, GraphQL"),
]


@asynccontextmanager
async def processes(data_dir: Path, load: Load) -> AsyncIterator[tuple[Shop, dict[str, int]]]:
    """The processes that listeners need, with more events on record than any buffer holds."""
    # Listeners that are slow are kept, so that what they cost can be seen.
    kept = {"SHOP_NOTIFIER_SEND_TIMEOUT": "300", "SHOP_GRAPHQL_SEND_TIMEOUT": "300", "SHOP_NOTIFIER_HEARTBEAT": "300"}
    around = surroundings(data_dir, {**kept, "SHOP_OTLP_URL": ""})
    with environment(around.of(next(spec for spec in TABLE if spec.name == "notifier"))):
        broker = await connect_broker(ProcessSettings().broker(), Topology.load(TOPOLOGY))
    for _ in range(load.events // 100):
        await broker.publish([an_event(text="x" * load.size) for _ in range(100)])
    await broker.close()
    async with AsyncExitStack() as stack:
        pids = {}
        for spec in TABLE:
            if spec.name in NEEDED:
                # What the warm interpreter has freed and left to them, forked ones could fill without growing.
                with fresh_interpreters():
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "shop", "run", spec.name, env=around.of(spec)
                    )
                stack.push_async_callback(_ended, process)
                pids[spec.name] = process.pid
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=around.shared["SHOP_GATEWAY_URL"], timeout=30)
        )
        shop = Shop(around, http)

        async def ready() -> bool:
            try:
                urls = [f"http://127.0.0.1:{around.ports[setting]}/healthz" for setting, *_ in WAYS.values()]
                return all([(await http.get(url)).status_code == 200 for url in urls]) and bool(
                    await shop.token("admin@shop.test", "admin")
                )
            except (httpx.TransportError, AssertionError):
                return False

        await eventually(ready, within=40)
        yield shop, pids


def frame(text: str) -> bytes:
    """A text frame of a client; a mask of zeros leaves it as it is (RFC 6455, section 5.2)."""
    content = text.encode()
    if len(content) < 126:
        return bytes((0x81, 0x80 | len(content))) + bytes(4) + content
    return bytes((0x81, 0x80 | 126)) + len(content).to_bytes(2) + bytes(4) + content


def work(pids: dict[str, int]) -> float:
    """Seconds of processor time that the processes have had."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids.values()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


async def at_rest(done: Callable[[], float]) -> None:
    """Wait until what is done has not grown by more than a tenth of a second for a second."""
    began, before = time.monotonic(), done()

    def is_quiet() -> bool:
        nonlocal began, before
        if (now := done()) - before > 0.1:
            began, before = time.monotonic(), now
        return time.monotonic() - began >= 1

    await eventually(is_quiet, within=60)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("way", "load"), CASES)
async def test_little_waits_for_listeners_that_have_stopped(tmp_path: Path, way: Way, load: Load) -> None:
    """At most 256 KiB wait for each in any process on the way."""
    setting, path, subprotocol, said = way
    async with processes(tmp_path, load) as (shop, pids), AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        token = await shop.token("admin@shop.test", "admin")
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        if subprotocol:
            upgrade += f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
        head = f"GET {path} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {token}\r\n{upgrade if said else ''}\r\n"

        async def stopped() -> None:
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
            # As on a network. One of loopback's is larger than this window, and would wait for the kernel's probes.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", shop.around.ports[setting]))
            await loop.sock_sendall(connection, head.encode())
            answer = await loop.sock_recv(connection, 12)
            assert answer in (b"HTTP/1.1 101", b"HTTP/1.1 200")
            for each in said:
                await loop.sock_sendall(connection, frame(json.dumps(each)))
            heard = b""
            while FIRST_OF_MANY[subprotocol] not in heard:
                heard = heard[-100:] + (received := await loop.sock_recv(connection, 1024))
                assert received, heard

        await asyncio.gather(*(stopped() for _ in range(load.before_them)))  # what is made once for all of them
        await at_rest(lambda: work(pids))
        memory = {name: Memory(pid) for name, pid in pids.items() if name != "users"}
        await asyncio.gather(*(stopped() for _ in range(load.listeners)))
        await at_rest(lambda: work(pids))
        growth = {name: each.growth_now() // load.listeners for name, each in memory.items()}
        sys.stdout.write(f"grown for each by { ({name: f'{size >> 10} KiB' for name, size in growth.items()}) }\n")
        assert max(growth.values()) <= MAX_FOR_A_READER, growth
