"""Nothing that was answered 200 is lost, and nothing takes effect twice, whenever the processes are killed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.auth.identity import anyone
from chassis.grpc.server import serve
from chassis.observability.tracing import Telemetry
from partners import senders
from protos.shop.orders.v1 import orders_pb2
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from tests.shop import free_ports
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, FakeShop, Receiver, settings_for, worker_settings_for
from tests.webhooks.processes import real_process

FLOOD = 1_000
KILLS = 3
# What the worker has under way when it is killed, which is done again; as much again may have been published anew.
REPEATS = 2 * 16


class FakeOrders(OrderServiceServicer):
    """Takes payments as the real one does: a repeat changes nothing. `calls` counts attempts, `paid` holds effects."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.paid: dict[str, str] = {}
        self.tokens: set[str] = set()

    async def MarkPaid(self, request: Any, context: Any) -> orders_pb2.MarkPaidResponse:  # noqa: N802 - gRPC
        self.tokens.add(dict(context.invocation_metadata()).get("authorization", ""))
        self.calls[request.order_id] += 1
        self.paid.setdefault(request.order_id, request.payment_id)
        return orders_pb2.MarkPaidResponse(order=orders_pb2.Order(id=request.order_id))


class FakeUsers(UserServiceServicer):
    async def IssueServiceToken(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC
        return users_pb2.IssueServiceTokenResponse(access_token=f"token of {request.service}", expires_in=900)


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[FakeOrders, int]]:
    """Orders and users in one gRPC server, and its port."""
    orders = FakeOrders()  # type: ignore[abstract]  # the other methods are not called
    async with serve(
        (add_OrderServiceServicer_to_server, orders),
        (add_UserServiceServicer_to_server, FakeUsers()),  # type: ignore[abstract]  # as above
        policy={"MarkPaid": anyone, "IssueServiceToken": anyone},
        verifier=None,
        telemetry=Telemetry("fake"),
        host="127.0.0.1",
        port=0,
    ) as port:
        yield orders, port


def environment(port: int, upstream: int, backends: Mapping[str, str]) -> dict[str, str]:
    return {
        **{f"SHOP_{name.upper()}": url for name, url in backends.items()},
        **{f"SHOP_WEBHOOK_SECRET_{provider.upper()}": secret for provider, secret in SECRETS.items()},
        "SHOP_WEBHOOKS_PORT": str(port),
        "SHOP_WEBHOOKS_GRPC_PORT": "0",
        "SHOP_ORDERS_ADDRESS": f"127.0.0.1:{upstream}",
        "SHOP_USERS_ADDRESS": f"127.0.0.1:{upstream}",
        # A call that is made again because it took too long would count as one that a kill repeats.
        "SHOP_CALL_TIMEOUT": "15",
    }


@dataclass
class Flood:
    """A provider that has many events to send. `accepted` are those that were answered 200."""

    url: str
    accepted: set[str] = field(default_factory=set)

    async def send(self) -> None:
        """Send everything that has not been accepted, once."""
        waiting = [str(number) for number in range(FLOOD) if str(number) not in self.accepted]
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as client:
            await asyncio.gather(*(self._send_some(client, waiting) for _ in range(32)))

    async def _send_some(self, client: httpx.AsyncClient, waiting: list[str]) -> None:
        while waiting:
            await self._send_one(client, waiting.pop())

    async def _send_one(self, client: httpx.AsyncClient, number: str) -> None:
        obj = {"id": f"pi_{number}", "metadata": {"order_id": number}}
        event = senders.stripe("payment_intent.succeeded", obj, secret=SECRETS["stripe"], event_id=f"evt_{number}")
        try:
            response = await client.post("/webhooks/stripe", content=event.body, headers=event.headers)
        except httpx.TransportError:
            await asyncio.sleep(0.02)  # it was killed before it answered: nothing was promised
            return
        assert response.status_code == 200
        self.accepted.add(number)


async def _keep_alive(
    arguments: tuple[str, ...],
    data_dir: Path,
    env: dict[str, str],
    done: Callable[[], int],
    kill_at: list[int],
    killed_at: list[int],
) -> None:
    """Run a process; kill it with SIGKILL each time that so much is done, note how much it was, and start it again."""
    for moment in kill_at:
        async with real_process("webhooks", data_dir, env, *arguments) as process:
            await eventually(partial(_reached, done, moment), within=60)
            process.kill()
            killed_at.append(done())
            await process.wait()
    async with real_process("webhooks", data_dir, env, *arguments):
        await asyncio.Event().wait()


def _reached(done: Callable[[], int], moment: int) -> bool:
    return done() >= moment


@pytest.mark.timeout(180)
async def test_what_was_accepted_survives_every_kill(
    tmp_path: Path, upstream: tuple[FakeOrders, int], backends: Mapping[str, str]
) -> None:
    """Both processes killed again and again amid a flood of 1,000: every accepted event takes effect exactly once."""
    orders, upstream_port = upstream
    [port] = free_ports(1)
    env = environment(port, upstream_port, backends)
    flood = Flood(f"http://127.0.0.1:{port}")
    accepted = sorted(random.sample(range(50, FLOOD - 100), KILLS))
    processed = sorted(random.sample(range(20, FLOOD // 2), KILLS))
    intake_killed: list[int] = []
    worker_killed: list[int] = []

    async with AsyncExitStack() as stack:
        for running in (
            _keep_alive((), tmp_path, env, lambda: len(flood.accepted), accepted, intake_killed),
            _keep_alive(("worker",), tmp_path, env, lambda: len(orders.paid), processed, worker_killed),
        ):
            stack.push_async_callback(_ended, asyncio.create_task(running))
        await _reachable(flood.url)
        while len(flood.accepted) < FLOOD:
            await flood.send()
        await eventually(lambda: flood.accepted <= orders.paid.keys(), within=60)
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        settings, worker = settings_for(tmp_path, **backends), worker_settings_for(tmp_path, **backends)
        receiver = Receiver(settings, worker, FakeShop(), client)
        await eventually(lambda: _all_processed(receiver), within=30)
        rows = await receiver.rows()
        assert {row["provider_event_id"].removeprefix("evt_") for row in rows} == orders.paid.keys()
        assert len(rows) == len(orders.paid)
        assert all(orders.paid[number] == f"pi_{number}" for number in orders.paid)
        assert await receiver.dead_letters() == []
    for killed_at in (intake_killed, worker_killed):
        assert len(killed_at) == KILLS
        assert max(killed_at) < FLOOD, "it had nothing left to do when it was killed"
    assert sum(orders.calls.values()) - len(orders.paid) <= KILLS * REPEATS
    assert orders.tokens == {"Bearer token of webhook_worker"}


async def _reachable(url: str) -> None:
    async def ready() -> bool:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            try:
                return (await client.get("/readyz")).is_success
            except httpx.TransportError:
                return False

    await eventually(ready, within=30)


async def _ended(task: asyncio.Task[None]) -> None:
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _all_processed(receiver: Receiver) -> bool:
    return all(row["status"] == "processed" for row in await receiver.rows())
