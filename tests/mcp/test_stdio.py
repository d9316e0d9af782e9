"""`shop mcp`: what a desktop client starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.mcp.conftest import Connect
from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = str(Path(__file__).parents[2])


def server(shop: Shop, *arguments: str, **env: str) -> StdioServerParameters:
    inherited = {"PATH": "/usr/bin:/bin", "SHOP_DATA_DIR": str(shop.around.data_dir), **shop.around.shared, **env}
    return StdioServerParameters(
        command=sys.executable, args=["-m", "shop", "mcp", *arguments], env=inherited, cwd=ROOT
    )


async def test_a_desktop_client_has_the_same_tools(shop: Shop, connect: Connect) -> None:
    """Over stdio there are the tools that there are over HTTP, and they act for the account."""
    async with connect() as remote, Client(server(shop)) as local:
        remote_tools = {tool.name: tool for tool in (await remote.list_tools()).tools}
        local_tools = {tool.name: tool for tool in (await local.list_tools()).tools}
        assert local_tools == remote_tools
        found = await local.call_tool("order_status", {"order_id": "123"})
        refused = await local.call_tool("audit", {})
    assert found.structured_content["order"]["id"] == "123"
    assert refused.is_error


async def test_an_administrators_desktop_client_audits(shop: Shop) -> None:
    """With an administrator's account the operator's tools work."""
    async with Client(server(shop, "--email", "admin@shop.test")) as client:
        order: Any = await client.read_resource("order://123")
    assert order.contents[0].mime_type == "application/json"
