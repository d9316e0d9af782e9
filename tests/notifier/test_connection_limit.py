"""More connections than the notifier keeps: the greediest client pays, and health checks are answered."""

from __future__ import annotations

from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from tests.notifier.conftest import Copy, Stage
from tests.system.raw_http import Clients, answer, closed, request
from tests.waiting import eventually

CLIENTS, IDLE = 4, 6
MAX_CONNECTIONS = CLIENTS + IDLE


def port_of(copy: Copy) -> int:
    return urlsplit(copy.url).port or 0


async def test_the_greediest_address_loses_its_idle_connections(stage: Stage) -> None:
    """An open WebSocket and another address keep theirs, however many connections one address opens."""
    async with (
        stage.notifier(notifier_max_clients=CLIENTS, notifier_max_idle=IDLE) as copy,
        copy.client() as websocket,
        AsyncExitStack() as stack,
    ):
        clients = Clients(port_of(copy), stack)
        modest = await clients.connect(1, "127.0.0.2")
        greedy = await clients.connect(3 * MAX_CONNECTIONS, "127.0.0.3")
        await eventually(lambda: closed(greedy) == 2 * MAX_CONNECTIONS + 2)
        assert closed(greedy[: 2 * MAX_CONNECTIONS + 2]) == 2 * MAX_CONNECTIONS + 2
        assert closed(modest) == 0
        for probe in ("/healthz", "/readyz"):
            assert (await answer(port_of(copy), request(probe))).status == 200
        await websocket.silence()


async def test_health_is_told_while_every_connection_is_a_client(stage: Stage) -> None:
    """Anything else is refused with a problem that says when to come again."""
    async with stage.notifier(notifier_max_clients=CLIENTS, notifier_max_idle=0) as copy, AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            await stack.enter_async_context(copy.client())
        refused = await answer(port_of(copy), request("/metrics"))
        assert (refused.status, refused.problem()["code"]) == (503, "OVERLOADED")
        assert int(refused.headers["retry-after"]) >= 1
        for probe in ("/healthz", "/readyz"):
            assert (await answer(port_of(copy), request(probe))).status == 200
