"""Clients in another language: what the contracts and the WSDL say is enough for them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from legacy_soap.bootstrap import Settings, running
from protos import contract_checks
from shop.process_table import TABLE
from tests.node_modules import installed
from tests.shop import Shop, run_of_ports, shop_in_one_loop

HERE = Path(__file__).parent / "node"
DOCS = Path(__file__).parents[2] / "docs/grpc.md"
MINIMAL = {"users", "catalog", "orders", "gateway", "inventory", "storage", "erp_adapter", "legacy_soap"}


@pytest.fixture(scope="session")
def modules() -> Path:
    """The folder of the installed clients."""
    return installed(HERE)


async def node(modules: Path, script: str, *arguments: str) -> Any:
    """What a script prints."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / script),
        *arguments,
        env={**os.environ, "NODE_PATH": str(modules / "node_modules")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    without = [spec.name for spec in TABLE if spec.name not in MINIMAL]
    env = {"SHOP_OTLP_URL": "", "SHOP_METRICS_PORT": str(run_of_ports(len(TABLE)))}
    async with shop_in_one_loop(tmp_path, env, without=without) as running_shop:
        yield running_shop


@pytest.mark.npm
async def test_node_s_soap_client_works_with_the_erp(modules: Path, tmp_path: Path) -> None:
    """The `soap` package logs in, reads stock, orders twice under one reference, and sees the fault's code."""
    with running(Settings(port=0, data_dir=tmp_path, stock={"42": 100})) as erp:
        told = await node(modules, "erp.js", f"http://127.0.0.1:{erp.port}/?wsdl", "SHOP", "shop")
    assert (told["stock"]["OnHand"], told["stock"]["ArtNo"]) == ("000000100", "ART-000001")
    assert told["order"] == told["again"]
    assert told["order"]["Stat"] == "10"
    assert told["refusal"] == "ERR-045"


@pytest.mark.npm
async def test_a_grpc_js_client_explores_a_running_shop(modules: Path, shop: Shop) -> None:
    """With server reflection alone a client in JavaScript signs in, reads an order and watches it."""
    told = await node(
        modules,
        "explore.js",
        shop.address("SHOP_ORDERS_ADDRESS"),
        shop.address("SHOP_USERS_ADDRESS"),
        "demo@shop.test",
        "demo",
        "123",
    )
    assert "shop.orders.v1.OrderService" in told["services"]
    assert (told["order"]["id"], told["order"]["user_id"]) == ("123", "123")
    assert told["history"][0] == "order.placed"
    assert told["history"][-1] == f"order.{told['order']['status']}"


@pytest.fixture
def docs(shop: Shop) -> str:
    """The commands of docs/grpc.md, as they are written there but for the ports."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    script = "".join(blocks)
    for here, there in (
        (".venv/bin/shop", f'"{sys.executable}" -m shop'),
        (".venv/bin/buf", str(contract_checks.BUF)),
        ("127.0.0.1:50053", shop.address("SHOP_ORDERS_ADDRESS")),
        ("127.0.0.1:9109", f"127.0.0.1:{metrics_port(shop)}"),
    ):
        assert here in script, here
        script = script.replace(here, there)
    return f"set -e\n{script}"


def metrics_port(shop: Shop) -> int:
    (orders,) = [spec for spec in TABLE if spec.name == "orders"]
    return int(shop.around.of(orders)["SHOP_METRICS_PORT"])


async def test_the_commands_of_the_docs(docs: str, shop: Shop) -> None:
    """Methods are listed, calls of all four kinds are answered, and metrics are shown; no .proto is given."""
    printed = await bash(docs, shop)
    for expected in (
        "WatchOrder(order_id, after_sequence) -> stream of OrderEvent",
        '"name": "Mechanical Keyboard"',
        '"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"',
        '"type": "order.confirmed"',
        '"adjustment_id": "scan-2"',
        "NOT_FOUND",
        "refused, as it should be",
        "shop.orders.v1.OrderService/WatchOrder\n",
        '"userId": "123"',
        'rpc_server_call_duration_seconds_count{code="OK",method="shop.orders.v1.OrderService/GetOrder"} ',
    ):
        assert expected in printed.replace('":"', '": "'), printed


async def bash(script: str, shop: Shop) -> str:
    """What a script prints beside this shop; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        env=dict(shop.around.shared),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(110):
            printed = (await process.communicate())[0].decode()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert process.returncode == 0, printed
    return printed


async def test_a_refusal_shows_its_details(docs: str, shop: Shop) -> None:
    """Without a token buf curl gets UNAUTHENTICATED, and our stable code in google.rpc.ErrorInfo."""
    (define,) = [line for line in docs.splitlines() if line.startswith("bufcurl()")]
    address = shop.address("SHOP_ORDERS_ADDRESS")
    asking = f'{define}\nbufcurl -d \'{{"id":"123"}}\' http://{address}/shop.orders.v1.OrderService/GetOrder'
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", asking, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, told = await process.communicate()
    assert process.returncode != 0
    assert b"unauthenticated" in told
    assert b"google.rpc.ErrorInfo" in told
