"""`shop healthy`: what a container's health check learns."""

from __future__ import annotations

import asyncio

import pytest

from chassis.grpc.server import serve
from chassis.http.health import showing_health
from chassis.observability.tracing import Telemetry
from shop.commands.processes.healthy import healthy
from shop.errors import Refused
from shop.process_table import TABLE, Port
from tests.shop import free_ports


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's health check has 3 s, which a busy machine's test may take."""
    monkeypatch.setattr("shop.commands.processes.healthy._TIMEOUT", 30.0)


async def asked(name: str, setting: str, port: int) -> bool:
    return await asyncio.to_thread(healthy, name, {setting: str(port)})


async def test_grpc_server_is_healthy_while_it_serves() -> None:
    """The health protocol's SERVING is yes; a server that has gone is no."""
    serving = serve(policy={}, verifier=None, telemetry=Telemetry("orders"), host="127.0.0.1", port=0)
    async with serving as port:
        assert await asked("orders", "SHOP_ORDERS_PORT", port)
    assert not await asked("orders", "SHOP_ORDERS_PORT", port)


async def test_worker_is_healthy_while_it_can_work() -> None:
    """What listens nowhere else answers at its health port: yes while it is ready, no while it is not."""
    (port,) = free_ports(1)
    ready = True

    async def is_ready() -> bool:
        return ready

    async with showing_health("127.0.0.1", port, is_ready):
        assert await asked("mailer", "SHOP_HEALTH_PORT", port)
        ready = False
        assert not await asked("mailer", "SHOP_HEALTH_PORT", port)


async def test_http_is_no_grpc() -> None:
    """A port on which something else answers is not healthy."""

    async def is_ready() -> bool:
        return True

    (port,) = free_ports(1)
    async with showing_health("127.0.0.1", port, is_ready):
        assert not await asked("orders", "SHOP_ORDERS_PORT", port)


def test_unknown_process_is_refused() -> None:
    """A name that is not in the table is an error, not an unhealthy process."""
    with pytest.raises(Refused, match='unknown process "nobody"'):
        healthy("nobody", {})


HEALTH = Port("SHOP_HEALTH_PORT", 8030)
TABLE_PORTS = {spec.name: spec.ports for spec in TABLE}


@pytest.mark.parametrize("name", [spec.name for spec in TABLE])
def test_every_process_can_be_asked(name: str) -> None:
    """Each process of the table has a way to be asked, and is not healthy where nothing listens."""
    nowhere = {port.setting: "1" for port in (*TABLE_PORTS[name], HEALTH)}
    assert not healthy(name, nowhere)
