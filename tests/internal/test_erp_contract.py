"""A change of the ERP's contract is noticed before it does harm, and said where an operator looks."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.errors import ShopError
from chassis.grpc.client import connect
from legacy_soap.bootstrap import Running, running
from legacy_soap.bootstrap import Settings as TheirSettings
from protos.shop.erp.v1 import erp_pb2 as pb
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from services.erp_adapter.bootstrap import CONTRACT, Settings, run
from services.erp_adapter.contract import OPERATIONS, differences
from services.erp_adapter.envelopes import Envelopes
from tests.legacy.identity import stub_users
from tests.legacy.test_erp_adapter import Shop
from tests.waiting import eventually

LEVELS = pb.GetStockLevelsRequest(product_ids=["42"])


@pytest.fixture
def erp(tmp_path: Path) -> Iterator[Running]:
    with running(TheirSettings(port=0, data_dir=tmp_path, stock={"42": 100})) as server:
        yield server


class Front:
    """A web server in front of the ERP, which can change what its WSDL says, or show an error page instead."""

    def __init__(self, erp_url: str, http: aiohttp.ClientSession) -> None:
        self.port = 0
        self.change: tuple[bytes, bytes] | None = None
        self.page = False
        self.looks = 0
        self._url = erp_url
        self._http = http

    async def get(self, request: web.Request) -> web.Response:
        self.looks += 1
        if self.page:
            return web.Response(text="<html></html>", content_type="text/html", status=503)
        async with self._http.get(f"{self._url}?wsdl") as answer:
            wsdl = await answer.read()
        if self.change:
            assert self.change[0] in wsdl
            wsdl = wsdl.replace(*self.change)
        return web.Response(body=wsdl, content_type="text/xml")

    async def post(self, request: web.Request) -> web.Response:
        headers = {"Content-Type": request.headers["Content-Type"]}
        async with self._http.post(self._url, data=await request.read(), headers=headers) as answer:
            return web.Response(body=await answer.read(), content_type="text/xml", status=answer.status)


@pytest.fixture
async def front(erp: Running) -> AsyncIterator[Front]:
    async with aiohttp.ClientSession() as http:
        found = Front(f"http://127.0.0.1:{erp.port}/", http)
        app = web.Application()
        app.add_routes([web.get("/", found.get), web.post("/", found.post)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.port = runner.addresses[0][1]
        try:
            yield found
        finally:
            await runner.cleanup()


class Adapter:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.shop = Shop(ErpServiceStub(channel), None)
        self._health = HealthStub(channel)

    async def serving(self) -> bool:
        states = [
            (await self._health.Check(health_pb2.HealthCheckRequest(service=name))).status
            for name in ("", "shop.erp.v1.ErpService")
        ]
        assert states[0] == states[1]
        return bool(states[0] == health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> bool:
        return not await self.serving()


@asynccontextmanager
async def adapter(port: int, *, check: float = 0.05) -> AsyncIterator[Adapter]:
    async with stub_users() as users_address:
        settings = Settings(
            erp_adapter_port=0,
            legacy_soap_url=f"http://127.0.0.1:{port}/",
            users_address=users_address,
            otlp_url="",
            legacy_soap_contract_check=check,
        )
        async with run(settings) as process, connect(f"127.0.0.1:{process.port}") as channel:
            yield Adapter(channel)


async def test_the_erp_keeps_the_contract_that_is_on_file(erp: Running) -> None:
    """What the ERP's WSDL stands for is what erp_contract.txt says; if that is wanted, write it there."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{erp.port}/?wsdl") as answer:
        found = Envelopes(await answer.read()).contract
    assert found == CONTRACT.read_text()
    assert [line.split()[0] for line in found.splitlines()] == sorted(OPERATIONS)


@pytest.mark.parametrize(
    ("pattern", "replacement", "changed"),
    [
        (rb"(<xs:simpleType name=\"OrderLine_QtyType\">.*?)\[0-9\]\{9\}", rb"\g<1>[0-9]{12}", ["CreateSalesOrder"]),
        (
            rb'(<xs:complexType name="ShipmentHead">.*?)ShpDate',
            rb"\g<1>ShipDate",
            ["CreateShipment", "GetShipmentStatus"],
        ),
        (rb'<xs:element name="CustNo"', rb'<xs:element minOccurs="0" name="CustNo"', ["CreateSalesOrder"]),
        (rb'maxOccurs="999"', rb'maxOccurs="99"', ["CreateSalesOrder"]),
        (rb'<wsdl:operation name="CancelSalesOrder".*?</wsdl:operation>', b"", ["CancelSalesOrder"]),
        (rb"urn:erp:sales:2004", b"urn:erp:sales:2005", sorted(OPERATIONS)),
        (rb"\n", b"\n\n", []),
    ],
)
async def test_what_is_a_change(erp: Running, pattern: bytes, replacement: bytes, changed: list[str]) -> None:
    """Formats, names, counts, operations and namespaces are the contract; white space is not."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{erp.port}/?wsdl") as answer:
        wsdl = (await answer.read()).replace(b"><", b">\n<")
    altered = re.sub(pattern, replacement, wsdl, flags=re.DOTALL)
    assert altered != wsdl
    assert differences(CONTRACT.read_text(), Envelopes(altered).contract) == changed


async def test_drift_is_unreadiness_until_it_ends(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    """With another contract health says NOT_SERVING, calls are refused and the log names the operation; then back."""
    async with adapter(front.port) as erp:
        assert await erp.shop.levels("42") == {"42": 100}
        assert await erp.serving()
        with caplog.at_level(logging.WARNING):
            front.change = (b'name="AsOfTime"', b'name="AsOfClock"')
            await eventually(erp.not_serving)
            refusal = await erp.shop.refused("GetStockLevels", LEVELS)
            assert refusal.code == "ERP_CONTRACT_CHANGED"
            assert "GetStockLevel" in refusal.message
            assert (
                await erp.shop.refused("CancelSalesOrder", pb.CancelSalesOrderRequest(order_id="o"))
            ).code == refusal.code
            front.change = None
            await eventually(erp.serving)
            assert await erp.shop.levels("42") == {"42": 100}
    logged = [record.getMessage() for record in caplog.records if "contract" in record.getMessage()]
    assert ["GetStockLevel" in message for message in logged] == [True, False]
    assert "expected one again" in logged[1]


async def test_an_erp_that_has_drifted_before_the_start_is_not_used(front: Front) -> None:
    """An adapter that begins in front of a changed ERP says so before and after the first call."""
    front.change = (b'name="AsOfTime"', b'name="AsOfClock"')
    async with adapter(front.port) as erp:
        assert (await erp.shop.refused("GetStockLevels", LEVELS)).code == "ERP_CONTRACT_CHANGED"
        await eventually(erp.not_serving)


async def test_a_call_notices_that_the_contract_is_back(front: Front) -> None:
    """Calls that are refused have the WSDL looked at within a second or two, long before the next regular look."""
    front.change = (b'name="AsOfTime"', b'name="AsOfClock"')
    async with adapter(front.port, check=600.0) as erp:
        assert (await erp.shop.refused("GetStockLevels", LEVELS)).code == "ERP_CONTRACT_CHANGED"
        front.change = None
        await eventually(lambda: served(erp))


async def served(erp: Adapter) -> bool:
    try:
        return await erp.shop.levels("42") == {"42": 100}
    except ShopError:
        return False


async def test_an_erp_that_is_away_has_not_drifted(front: Front) -> None:
    """An error page instead of the WSDL is unavailability, not another contract: what was known stays in use."""
    async with adapter(front.port) as erp:
        assert await erp.shop.levels("42") == {"42": 100}
        front.page = True
        seen = front.looks
        await eventually(lambda: front.looks > seen + 2)
        assert await erp.serving()
        assert await erp.shop.levels("42") == {"42": 100}
