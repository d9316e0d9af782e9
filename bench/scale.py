"""`make bench-scale`: what one, two and three copies of a process do in the composed shop.

Each copy is held to a part of a core (`docker update --cpus`), so that the copies are the limit, and not the machine or
what measures them: the question is whether twice the copies do twice the work. Absolute figures say little.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import websockets

from chassis.broker import connect
from chassis.broker.port import Event, Topology
from chassis.settings import TOPOLOGY

SECONDS = 6.0
CONNECTIONS = 24
CLIENTS = 150
EVENTS = 400
ORDERS = 60
PLACING = 10
# Of an order that is shipped.
MAILS = 2
COPIES = (1, 2, 3)
WITHIN = 120.0
LOG = Path("build/bench-scale.log")
SECRETS = Path("deploy/compose/secrets")
ANY_PORT = {
    f"SHOP_{name}_PORT": "0"
    for name in ("GATEWAY", "NOTIFIER", "WEBHOOKS", "CONSOLE", "BALANCED_GATEWAY", "BALANCED_NOTIFIER")
}
ADMIN = {"username": "admin@shop.test", "password": "admin"}
CUSTOMER = {"username": "demo@shop.test", "password": "demo"}


@dataclass(frozen=True)
class Copy:
    """One container, and its address on the machine that runs the engine."""

    id: str
    address: str

    def hold(self, cpus: str) -> None:
        docker("update", "--cpus", cpus, self.id)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def compose(*arguments: str) -> str:
    return docker("compose", "--profile", "scale", *arguments)


def copies(*services: str) -> list[Copy]:
    """The running containers of these services."""
    found = json.loads(docker("inspect", *compose("ps", "--quiet", *services).split()))
    networks = [next(iter(each["NetworkSettings"]["Networks"].values())) for each in found]
    return [Copy(each["Id"], network["IPAddress"]) for each, network in zip(found, networks, strict=True)]


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
            each.hold("2")


async def token(gateway: Copy, who: dict[str, str]) -> str:
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}:8000", timeout=30) as http:
        answer = (await http.post("/v1/auth/token", data=who)).raise_for_status()
    return str(answer.json()["access_token"])


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
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        count += 1
    writer.close()
    return count


async def deliveries(notifiers: Sequence[Copy]) -> float:
    """Events a second over all clients together: each event goes to every client."""
    (gateway,) = copies("gateway")
    headers = {"Authorization": f"Bearer {await token(gateway, ADMIN)}"}
    async with AsyncExitStack() as stack:
        sockets = []
        for number in range(CLIENTS):
            url = f"ws://{notifiers[number % len(notifiers)].address}:8001/notifications"
            socket = await stack.enter_async_context(websockets.connect(url, additional_headers=headers))
            await socket.send('{"action": "subscribe", "topics": ["stock.*"]}')
            while json.loads(await socket.recv())["type"] != "subscribed":
                pass
            sockets.append(socket)
        began = time.perf_counter()
        async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
            for socket in sockets:
                group.create_task(_receive(socket))
            await _publish()
        return CLIENTS * EVENTS / (time.perf_counter() - began)


async def _receive(socket: websockets.ClientConnection) -> None:
    for _ in range(EVENTS):
        await socket.recv(decode=False)


async def _publish() -> None:
    """Stock changes of products that do not exist: they concern only listeners."""
    url = (SECRETS / "inventory/broker_url").read_text().strip()
    (rabbitmq,) = copies("rabbitmq")
    broker = await connect(url.replace("@broker:", f"@{rabbitmq.address}:"), Topology.load(TOPOLOGY))
    data = json.dumps({"productId": "bench", "available": 1}).encode()
    now = datetime.now(UTC)
    events = [Event(uuid.uuid4().hex, "stock.changed", "/bench", "bench", now, data) for _ in range(EVENTS)]
    try:
        await broker.publish(events)
    finally:
        await broker.close()


async def confirmations(workers: Sequence[Copy]) -> float:
    """Orders a second that leave `pending`, when more come than the copies can take."""
    return await _worked_off("order_worker", workers, _confirmed)


async def payments(workers: Sequence[Copy]) -> float:
    """Orders a second of which the provider's webhook is handled."""
    return await _worked_off("webhook_worker", workers, _paid)


async def mails(workers: Sequence[Copy]) -> float:
    """Orders a second of which the customer has both mails, that it is confirmed and that it is shipped."""
    return await _worked_off("mailer", workers, _mailed)


async def _worked_off(worker: str, workers: Sequence[Copy], done: Callable[..., Awaitable[int]]) -> float:
    """Orders a second until all are done, with the other copies of this worker stopped."""
    (gateway,) = copies("gateway")
    headers = {"Authorization": f"Bearer {await token(gateway, CUSTOMER)}"}
    idle = [each for each in copies(worker) if each not in workers]
    if idle:
        docker("stop", *(each.id for each in idle))
    try:
        async with httpx.AsyncClient(base_url=f"http://{gateway.address}:8000", timeout=30, headers=headers) as http:
            began = time.perf_counter()
            placed = await asyncio.gather(*(_place(http, ORDERS // PLACING) for _ in range(PLACING)))
            ids = {order_id for some in placed for order_id in some}
            async with asyncio.timeout(WITHIN):
                while await done(http, ids) < len(ids):  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.05)
            return len(ids) / (time.perf_counter() - began)
    finally:
        if idle:
            await _start(idle)


async def _start(stopped: Sequence[Copy]) -> None:
    """Start containers with all of a core's time, of which a start takes much, and give them back what they had."""
    ids = [each.id for each in stopped]
    nano = [int(each) for each in docker("inspect", "--format", "{{.HostConfig.NanoCpus}}", *ids).split()]
    for each in stopped:
        each.hold("2")
    docker("start", *ids)
    await _healthy(ids)
    for each, share in zip(stopped, nano, strict=True):
        each.hold(f"{share / 1e9:g}")


async def _confirmed(http: httpx.AsyncClient, ids: set[str]) -> int:
    return await _in(http, ids, {"confirmed", "paid", "shipped"})


async def _paid(http: httpx.AsyncClient, ids: set[str]) -> int:
    return await _in(http, ids, {"paid", "shipped"})


async def _in(http: httpx.AsyncClient, ids: set[str], statuses: set[str]) -> int:
    found = (await http.get("/v1/orders", params={"limit": 100})).raise_for_status().json()["items"]
    return sum(order["id"] in ids and order["status"] in statuses for order in found)


async def _mailed(_: httpx.AsyncClient, ids: set[str]) -> int:
    (sink,) = copies("smtp_sink")
    async with httpx.AsyncClient(base_url=f"http://{sink.address}:8026", timeout=30) as http:
        found = (await http.get("/mails", headers={"Accept": "application/json"})).raise_for_status().json()
    mails = Counter(mail["order_id"] for mail in found)
    return sum(mails[each] >= MAILS for each in ids)


async def _place(http: httpx.AsyncClient, count: int) -> list[str]:
    body = {"items": [{"product_id": "123", "quantity": 1}]}
    ids = []
    for _ in range(count):
        answer = await http.post("/v1/orders", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        ids.append(str(answer.raise_for_status().json()["id"]))
    return ids


async def _healthy(ids: Sequence[str]) -> None:
    async with asyncio.timeout(WITHIN):
        while set(docker("inspect", "--format", "{{.State.Health.Status}}", *ids).split()) != {"healthy"}:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def main() -> None:
    sys.stdout.write("| process | cores of each | copies | rate | of one copy's |\n|---|---|---|---|---|\n")
    await measured("requests/s", "0.2", reads, "gateway", "gateway_2")
    await measured("deliveries/s", "0.1", deliveries, "notifier", "notifier_2", "notifier_3")
    await measured("orders/s", "0.1", confirmations, "order_worker")
    await measured("orders/s", "0.04", payments, "webhook_worker")
    await measured("orders/s", "0.03", mails, "mailer")


def run() -> None:
    """Start a shop of its own beside any other, measure, and take it down again."""
    os.environ |= {"COMPOSE_PROJECT_NAME": "polyglot-shop-bench", "SHOP_SUBNET": "10.213.215.0/24", **ANY_PORT}
    os.environ["SHOP_SIGN_IN_RATE_LIMIT"] = "10000/minute"
    try:
        scaled = [f"--scale={name}" for name in ("gateway_2=2", "order_worker=3", "webhook_worker=3", "mailer=3")]
        compose("up", "--wait", *scaled)
        (postgres,) = copies("postgres")  # which has sixteen connections more for each copy of a worker
        docker("update", "--memory", "512m", "--memory-swap", "512m", postgres.id)
        asyncio.run(main())
    finally:
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text(compose("logs", "--no-color"))
        compose("down", "--volumes", "--timeout", "5")


if __name__ == "__main__":
    run()
