"""What the adapter makes of answers that no honest ERP would give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from chassis.errors import Kind, ShopError
from chassis.observability.tracing import Telemetry
from legacy_soap.bootstrap import Running
from services.erp_adapter.soap_client import MAX_BYTES, Login, soap_client
from services.erp_adapter.soap_erp import SoapErp

ENVELOPE = '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>{}</e:Body></e:Envelope>'
LOGGED_IN = ENVELOPE.format(
    '<LoginResponse xmlns="urn:erp:sales:2004"><LoginResult><SessionId>S</SessionId><ValidSecs>000000900</ValidSecs>'
    "</LoginResult></LoginResponse>"
)
SHIPMENT = (
    '<GetShipmentStatusResponse xmlns="urn:erp:sales:2004"><GetShipmentStatusResult><ShpNo>0000000001</ShpNo>'
    "<CustRef>{}</CustRef><Stat>{}</Stat><ShpDate>20040201</ShpDate></GetShipmentStatusResult></GetShipmentStatusResponse>"
)
HONEST = ENVELOPE.format(SHIPMENT.format("order-1", "10"))
DOCTYPE = '<!DOCTYPE e [<!ENTITY x "order-1">]>'


@dataclass(frozen=True)
class Canned:
    """An HTTP answer."""

    body: bytes
    content_type: str = "text/xml"
    status: int = 200
    location: str = ""


HOSTILE = {
    "DTD": Canned((DOCTYPE + HONEST).encode()),
    "entity": Canned((DOCTYPE + ENVELOPE.format(SHIPMENT.format("&x;", "10"))).encode()),
    "DTD in UTF-16": Canned((DOCTYPE + HONEST).encode("utf-16")),
    "too long": Canned(HONEST.encode() + b" " * MAX_BYTES),
    "JSON": Canned(b"{}", "application/json"),
    "HTML": Canned(b"<html></html>", "text/html", 502),
    "garbage": Canned(b"garbage"),
    "nothing": Canned(b""),
    "nothing, and 500": Canned(b"", status=500),
    "no envelope": Canned(b"<a/>"),
    "an empty envelope": Canned(ENVELOPE.format("").encode()),
    "another operation's answer": Canned(LOGGED_IN.encode()),
    "an unknown status code": Canned(ENVELOPE.format(SHIPMENT.format("order-1", "77")).encode()),
    "a fault without a code": Canned(
        ENVELOPE.format("<e:Fault><faultstring>no</faultstring></e:Fault>").encode(), status=500
    ),
    "a redirect": Canned(b"", status=307, location="http://127.0.0.1:1/"),
    "XInclude and schema hints are not followed, but a wrong root is wrong": Canned(
        b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'
    ),
}


@asynccontextmanager
async def adapter_of(wsdl: bytes, answer: Canned) -> AsyncIterator[SoapErp]:
    """The adapter in front of a stub that gives one answer to everything but a login."""

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=wsdl, content_type="text/xml")

    async def post(request: web.Request) -> web.Response:
        if "Login" in request.headers["SOAPAction"]:
            return web.Response(text=LOGGED_IN, content_type="text/xml")
        headers = {"Location": answer.location} if answer.location else {}
        return web.Response(body=answer.body, content_type=answer.content_type, status=answer.status, headers=headers)

    app = web.Application()
    app.add_routes([web.get("/", get), web.post("/", post)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with soap_client(f"http://127.0.0.1:{port}/", Telemetry("test"), Login("u", "p"), budget=5) as client:
            yield SoapErp(client)
    finally:
        await runner.cleanup()


async def wsdl_of(erp: Running) -> bytes:
    """The ERP's own WSDL."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{erp.port}/?wsdl") as response:
        return await response.read()


async def test_an_honest_answer_is_read(erp: Running) -> None:
    """The stub's honest answer passes, so that what fails below fails for its own reason."""
    async with adapter_of(await wsdl_of(erp), Canned(HONEST.encode())) as adapter:
        assert (await adapter.shipment("order-1")).number == "0000000001"


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_answer_is_unavailability(erp: Running, what: str) -> None:
    """DTDs, entities, oversize, wrong types and wrong contents become an error that may be tried again later."""
    async with adapter_of(await wsdl_of(erp), HOSTILE[what]) as adapter:
        with pytest.raises(ShopError) as caught:
            await adapter.shipment("order-1")
    assert caught.value.kind is Kind.UNAVAILABLE
    assert caught.value.code in ("ERP_ANSWER_UNREADABLE", "ERP_FAILED")


@pytest.mark.parametrize(
    "wsdl",
    [
        b"",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a/>',
        b'<definitions xmlns="http://schemas.xmlsoap.org/wsdl/"><import namespace="a" location="http://127.0.0.1:1/"/></definitions>',
    ],
)
async def test_a_hostile_wsdl_is_unavailability(wsdl: bytes) -> None:
    """A WSDL that is none, has a DTD, or would fetch something from elsewhere is not used."""
    async with adapter_of(wsdl, Canned(HONEST.encode())) as adapter:
        with pytest.raises(ShopError, match="ERP_ANSWER_UNREADABLE"):
            await adapter.shipment("order-1")
