"""Bodies without end: what a gateway of its own process needs for them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.shop import free_ports
from tests.waiting import eventually

MIB = 1 << 20


@asynccontextmanager
async def process(folder: Path, **settings: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """The gateway as a process, without upstreams."""
    port, *others = free_ports(8)
    names = ("USERS", "CATALOG", "ORDERS", "INVENTORY", "STORAGE", "WEBHOOKS")
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    env |= {f"SHOP_{name}_ADDRESS": f"127.0.0.1:{each}" for name, each in zip(names, others, strict=False)}
    env |= {
        "SHOP_GATEWAY_PORT": str(port),
        "SHOP_OTLP_URL": "",
        "SHOP_DATA_DIR": str(folder),
        "SHOP_SIGN_IN_RATE_LIMIT": "100000/minute",
    }
    env |= settings
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=env, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(timeout=60) as client:
            await eventually(lambda: _alive(client, url), within=30)
        yield url, psutil.Process(child.pid)
    finally:
        child.terminate()
        await child.wait()


async def _alive(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/healthz")).status_code == 200
    except httpx.ConnectError:
        return False


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65_536


async def refused(url: str, content: bytes | AsyncIterator[bytes]) -> None:
    """Send a body that is too large; the answer comes while it is still being sent."""
    async with httpx.AsyncClient(timeout=20) as client:
        headers = {"content-type": "application/json"}
        try:
            response = await client.post(f"{url}/v1/users", content=content, headers=headers)
        except (httpx.WriteError, httpx.ReadError):
            return  # closed on us: an endless body can be refused in no other way
        assert (response.status_code, response.json()["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("size", [10 * MIB, 0], ids=["10 MB", "endless"])
async def test_memory_stays_flat(tmp_path: Path, size: int) -> None:
    """Bodies of 10 MB each, or without an end, twenty at a time: after many the process is as large as after a few."""
    async with process(tmp_path) as (url, gateway):

        async def twenty() -> int:
            await asyncio.gather(*(refused(url, b" " * size if size else endless()) for _ in range(20)))
            return int(gateway.memory_info().rss)

        # The buffers of twenty connections are made once, which on a busy machine takes more than one round. Bodies
        # that were kept would be 200 MB a round, or a fresh 64 KiB and more of each connection.
        before = max([await twenty() for _ in range(2)])
        after = min([await twenty() for _ in range(4)][-2:])
        assert after - before < 8 * MIB, f"{after - before} bytes more"


@pytest.mark.parametrize(
    ("path", "limit", "status"), [("/v1/orders", "1000/minute", 401), ("/v1/users", "1/minute", 429)]
)
async def test_any_refusal_ends_an_endless_body(tmp_path: Path, path: str, limit: str, status: int) -> None:
    """A request that is refused before its body was read gets its answer, and the connection ends."""
    async with process(tmp_path, SHOP_SIGN_IN_RATE_LIMIT=limit) as (url, _), httpx.AsyncClient(timeout=20) as client:
        await client.post(f"{url}{path}", json={})  # the one that the limit of a minute allows
        sent = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal sent
            async for chunk in endless():
                sent += len(chunk)
                yield chunk

        try:
            response = await client.post(f"{url}{path}", content=counted())
        except (httpx.WriteError, httpx.ReadError):
            return  # closed on us, which ends it, too
        assert (response.status_code, response.headers["connection"]) == (status, "close")
        assert sent
