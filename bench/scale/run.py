"""`make bench-scale`: what one, two and three copies of a process do in the composed shop.

Each copy is held to a part of a core (`docker update --cpus`), so that the copies are the limit, and not the machine or
what measures them: the question is whether twice the copies do twice the work. Absolute figures say little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import websockets

from bench.composed import UNHELD, WITHIN, Copy, compose, copies, docker
from bench.scale import workers as scale_workers
from bench.stock import token_of
from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.settings import TOPOLOGY
from shop import sign_in
from shop.started_shop import unwound_by_signals

SECONDS = 6.0
CONNECTIONS = 24
CLIENTS = 150
EVENTS = 400
COPIES = (1, 2, 3)
ALL = ("cost", "gateway", "notifier", *(worker.service for worker in scale_workers.WORKERS))
LOG = Path("build/bench-scale.log")
SECRETS = Path("deploy/compose/secrets")
ANY_PORT = {
    f"SHOP_{name}_PORT": "0"
    for name in ("GATEWAY", "NOTIFIER", "WEBHOOKS", "CONSOLE", "BALANCED_GATEWAY", "BALANCED_NOTIFIER")
}


async def measured(unit: str, share: str, work: Callable[..., Awaitable[float]], *services: str) -> None:
    """Do the work on one, two and three copies, each with a share of a core, and print the rates."""
    all_copies = copies(*services)
    for each in all_copies:
        each.hold(share)
    first = 0.0
    try:
        await work(all_copies)  # connections and caches are there from then on
        for count in COPIES:
            rate = await work(all_copies[:count])
            first = first or rate
            sys.stdout.write(f"| {services[0]} | {share} | {count} | {rate:,.0f} {unit} | {rate / first:.2f} |\n")
            sys.stdout.flush()
    finally:
        for each in all_copies:
            each.hold(UNHELD)


async def reads(gateways: Sequence[Copy]) -> float:
    """Requests a second for a product, which the edge's cache answers."""
    until = time.perf_counter() + SECONDS
    counts = await asyncio.gather(*(_read(gateways[n % len(gateways)], until) for n in range(CONNECTIONS)))
    return sum(counts) / SECONDS


async def _read(gateway: Copy, until: float) -> int:
    """One connection kept open; plain sockets, because the client must cost less than what it measures."""
    reader, writer = await asyncio.open_connection(gateway.address, 8000)
    request = f"GET /v1/products/42 HTTP/1.1\r\nHost: {gateway.address}\r\n\r\n".encode()
    count = 0
    try:
        while time.perf_counter() < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            count += 1
        return count
    finally:
        writer.close()


async def deliveries(notifiers: Sequence[Copy]) -> float:
    """Events a second over all clients together: each event goes to every client."""
    (gateway,) = copies("gateway")
    admin = await token_of(f"http://{gateway.address}:8000", sign_in.ADMIN)
    headers = {"Authorization": f"Bearer {admin}"}
    async with AsyncExitStack() as stack:
        sockets = []
        for number in range(CLIENTS):
            url = f"ws://{notifiers[number % len(notifiers)].address}:8001/notifications"
            socket = await stack.enter_async_context(websockets.connect(url, additional_headers=headers))
            await socket.send('{"action": "subscribe", "topics": ["stock.*"]}')
            while json.loads(await socket.recv())["type"] != "subscribed":
                pass
            sockets.append(socket)
        broker = await stack.enter_async_context(_broker())
        events = _events()
        began = time.perf_counter()
        async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
            for socket in sockets:
                group.create_task(_receive(socket))
            await broker.publish(events)
        return CLIENTS * EVENTS / (time.perf_counter() - began)


async def _receive(socket: websockets.ClientConnection) -> None:
    for _ in range(EVENTS):
        await socket.recv(decode=False)


@asynccontextmanager
async def _broker() -> AsyncIterator[Broker]:
    url = (SECRETS / "inventory/broker_url").read_text().strip()
    (rabbitmq,) = copies("rabbitmq")
    broker = await connect(url.replace("@broker:", f"@{rabbitmq.address}:"), Topology.load(TOPOLOGY))
    try:
        yield broker
    finally:
        await broker.close()


def _events() -> list[Event]:
    """Stock changes of products that do not exist: they concern only listeners."""
    data = json.dumps({"productId": "bench", "available": 1}).encode()
    now = datetime.now(UTC)
    return [Event(uuid.uuid4().hex, "stock.changed", "/bench", "bench", now, data) for _ in range(EVENTS)]


async def main(only: Sequence[str], orders: int) -> None:
    """Measure what is named, or everything."""
    await scale_workers.stocked()
    if "cost" in only:
        await scale_workers.costs(max(1, orders // scale_workers.ORDERS))
    sys.stdout.write("\n| process | cores of each | copies | rate | of one copy's |\n|---|---|---|---|---|\n")
    if "gateway" in only:
        await measured("requests/s", "0.2", reads, "gateway", "gateway_2")
    if "notifier" in only:
        await measured("deliveries/s", "0.1", deliveries, "notifier", "notifier_2", "notifier_3")
    sys.stdout.write(
        "\n| worker | cores of each | copies | rate | ms of an order | of the share used |\n|---|---|---|---|---|---|\n"
    )
    for worker in scale_workers.WORKERS:
        if worker.service in only:
            await scale_workers.measured(worker)


@unwound_by_signals()
def run(arguments: Sequence[str]) -> None:
    """Start a shop of its own beside any other, measure, and take it down again."""
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--orders", type=int, default=300, help="orders of which the cost by process is taken")
    given = parser.parse_args(arguments)
    os.environ |= {"COMPOSE_PROJECT_NAME": "polyglot-shop-bench", "SHOP_SUBNET": "10.213.215.0/24", **ANY_PORT}
    os.environ["SHOP_SIGN_IN_RATE_LIMIT"] = "10000/minute"
    try:
        scaled = [f"--scale={name}" for name in ("gateway_2=2", "order_worker=3", "webhook_worker=3", "mailer=3")]
        _down()  # what a run has left that was killed
        compose("up", "--wait", *scaled)
        (postgres,) = copies("postgres")  # which has sixteen connections more for each copy of a worker
        docker("update", "--memory", "512m", "--memory-swap", "512m", postgres.id)
        asyncio.run(main(given.only, given.orders))
    finally:
        try:
            LOG.parent.mkdir(exist_ok=True)
            LOG.write_text(compose("logs", "--no-color"))
        finally:
            _down()


def _down() -> None:
    compose("down", "--volumes", "--timeout", "5")
