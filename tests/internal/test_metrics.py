"""What each end of a call counts, and where Prometheus finds it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.errors import ShopError
from chassis.grpc.client import Client, connect
from chassis.settings import ProcessSettings
from protos.shop.inventory.v1 import inventory_pb2 as pb
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from services.inventory.bootstrap import Settings, run
from shop.process_table import TABLE
from shop.supervisor.environment import survey
from tests.internal.inventories import FakeErp
from tests.legacy.identity import stub_users, token_for
from tests.shop import free_ports
from tests.waiting import eventually

ASKED = "shop.inventory.v1.InventoryService/CheckAvailability"
RESERVED = "shop.inventory.v1.InventoryService/Reserve"


@asynccontextmanager
async def inventory(data_dir: Path, metrics_port: int) -> AsyncIterator[int]:
    """Inventory, which shows its metrics at a port; where it listens."""
    async with stub_users() as users_address:
        settings = Settings(
            data_dir=data_dir,
            inventory_port=0,
            metrics_port=metrics_port,
            users_address=users_address,
            otlp_url="",
            demo_data=True,
        )
        async with run(settings, erp=FakeErp()) as running:
            yield running.port


async def count(port: int, metric: str, **labels: str) -> float:
    """How many calls the histogram has seen that have these labels."""
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = re.findall(rf"^{metric}_count{{(.*)}} (.*)$", answer.text, re.MULTILINE)
    wanted = {f'{name}="{value}"' for name, value in labels.items()}
    return sum(float(number) for found, number in lines if wanted <= set(found.split(",")))


async def test_both_ends_count_each_call(tmp_path: Path) -> None:
    """Calls are counted where they are made and where they are served, by method and by the code of their answer."""
    theirs, ours = free_ports(2)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(inventory(tmp_path, theirs))
        told = ProcessSettings(otlp_url="", metrics_port=ours).telemetry("caller")
        spans = await stack.enter_async_context(told)
        stub = InventoryServiceStub(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))

        async def token() -> str:
            return token_for("123", "customer")

        client = Client("inventory", spans, token=token)
        for _ in range(3):
            await client.call(stub.CheckAvailability, pb.CheckAvailabilityRequest(product_ids=["42"]))
        with pytest.raises(ShopError, match="FORBIDDEN"):
            await client.call(stub.Reserve, pb.ReserveRequest(order_id="o"))
        for at, metric in ((theirs, "rpc_server_call_duration_seconds"), (ours, "rpc_client_call_duration_seconds")):
            assert await count(at, metric, method=ASKED, code="OK") == 3
            assert await count(at, metric, method=RESERVED, code="PERMISSION_DENIED") == 1
        async with httpx.AsyncClient(timeout=60) as http:
            assert (
                'circuit_breaker_open{peer="inventory"} 0.0'
                in (await http.get(f"http://127.0.0.1:{ours}/metrics")).text
            )
            assert (await http.get(f"http://127.0.0.1:{ours}/")).status_code == 404


async def test_streams_are_counted_too(tmp_path: Path) -> None:
    """A stream is one call, however it ends: here the client goes."""
    (metrics_port,) = free_ports(1)
    async with inventory(tmp_path, metrics_port) as port, connect(f"127.0.0.1:{port}") as channel:

        async def reports() -> Any:
            yield pb.StockAdjustment(id="a", product_id="42", quantity=1)
            await asyncio.Event().wait()

        metadata = [("authorization", f"Bearer {token_for('1', 'admin')}")]
        call = InventoryServiceStub(channel).SyncStock(reports(), metadata=metadata)
        await call.read()
        call.cancel()
        method = "shop.inventory.v1.InventoryService/SyncStock"
        served = "rpc_server_call_duration_seconds"
        await eventually(lambda: count(metrics_port, served, method=method))


async def test_nothing_is_shown_unless_it_is_wanted() -> None:
    """Without a port a process counts nothing and opens none."""
    async with ProcessSettings(otlp_url="").telemetry("caller") as spans:
        assert spans.metrics is None


def test_each_process_of_a_shop_has_a_port_of_its_own(tmp_path: Path) -> None:
    """Processes on one machine share the setting: to them it is the first of a run of ports, in the table's order."""
    around = survey(TABLE, {"SHOP_DATA_DIR": str(tmp_path), "SHOP_METRICS_PORT": "9100"})
    ports = {spec.name: around.of(spec)["SHOP_METRICS_PORT"] for spec in TABLE}
    assert len(set(ports.values())) == len(TABLE)
    assert ports["orders"] == "9109"  # docs/grpc.md says so
    assert "SHOP_METRICS_PORT" not in survey(TABLE, {"SHOP_DATA_DIR": str(tmp_path)}).of(TABLE[0])
