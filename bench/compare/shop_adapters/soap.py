"""SOAP to the ERP itself, by zeep: the only read that it has is GetStockLevel, in a session."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import zeep
from zeep.proxy import AsyncServiceProxy
from zeep.transports import AsyncTransport

from bench.compare.adapters.port import Call, Link, Rows, Selection


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """The WSDL is read and the session begun beforehand, at the server itself: they are no part of any figure."""
    async with httpx.AsyncClient(trust_env=False) as http, httpx.AsyncClient(trust_env=False) as signing_in:
        wsdl = f"{link.direct}/?wsdl"
        login = await asyncio.to_thread(zeep.AsyncClient, wsdl, transport=AsyncTransport(client=signing_in))
        session = await login.service.Login(User="SHOP", Password="shop")  # noqa: S106 - the ERP's demo account
        client = await asyncio.to_thread(zeep.AsyncClient, wsdl, transport=AsyncTransport(client=http))
        service = AsyncServiceProxy(client, login.service._binding, address=f"{link.url}/")  # noqa: SLF001
        headers = {"SessionHeader": {"SessionId": session.SessionId}}

        async def call(selection: Selection) -> Rows:
            articles = {"ArticleRef": [{"AltRef": each} for each in selection.ids]}
            lines = await service.GetStockLevel(articles, _soapheaders=headers)
            return [{"product_id": line.AltRef, "available": int(line.OnHand)} for line in lines]

        yield call
