"""The account of a load, and plenty of stock, which inventory counts in for an admin: no order is rejected for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import grpc.aio

from protos.shop.inventory.v1.inventory_pb2 import StockAdjustment
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop import sign_in

_PLENTY = 1_000_000
SIGN_IN_SECONDS = 300.0


async def token_of(gateway: str, email: str) -> str:
    """A demo account's access token. Raises `aiohttp.ClientResponseError` when the gateway refuses."""
    form = {"username": email, "password": sign_in.password_of(email)}
    async with aiohttp.ClientSession(gateway) as http, http.post("/v1/auth/token", data=form) as response:
        response.raise_for_status()
        return str((await response.json())["access_token"])


async def stay_signed_in(http: aiohttp.ClientSession, token: Callable[[], Awaitable[str]]) -> None:
    """Give a session a new token every five minutes, since one lasts fifteen; until it is cancelled."""
    while True:
        await asyncio.sleep(SIGN_IN_SECONDS)
        with suppress(aiohttp.ClientError, TimeoutError):
            http.headers["Authorization"] = f"Bearer {await token()}"


async def count_in(inventory: str, gateway: str, products: Sequence[str]) -> None:
    """A million of each product; `inventory` is host:port, `gateway` a URL."""

    async def adjustments() -> AsyncIterator[StockAdjustment]:
        for product_id in products:
            yield StockAdjustment(id=uuid.uuid4().hex, product_id=product_id, quantity=_PLENTY)

    metadata = [("authorization", f"Bearer {await token_of(gateway, sign_in.ADMIN)}")]
    async with grpc.aio.insecure_channel(inventory) as channel:
        levels: Any = InventoryServiceStub(channel).SyncStock(adjustments(), metadata=metadata)
        assert len([level async for level in levels]) == len(products)
