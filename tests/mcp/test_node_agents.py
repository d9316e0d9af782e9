"""Agents in another language: the official TypeScript SDK, and the MCP Inspector's command line."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.shop import Shop

pytestmark = [pytest.mark.npm, pytest.mark.asyncio(loop_scope="module")]
HERE = Path(__file__).parent / "node"


async def run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(110):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-2_000:]
    return output.decode()


@pytest.fixture
async def modules(tmp_path: Path) -> Path:
    """A folder with the scripts and what npm fetches for them."""
    for file in HERE.iterdir():
        shutil.copy(file, tmp_path)
    await run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", folder=tmp_path)
    return tmp_path


async def test_the_typescript_sdk_and_the_inspector_find_their_way(shop: Shop, modules: Path) -> None:
    """The SDK lists the tools and calls one; the Inspector sees the same tools and reads a resource."""
    url, token = f"{shop.address('SHOP_GATEWAY_URL')}/mcp", await shop.token()
    told: Any = json.loads(await run("node", "agent.mjs", url, token, folder=modules))
    assert "place_order" in told["tools"]
    assert told["found"]["items"][0]["id"] == "42"
    inspector = ["node_modules/.bin/mcp-inspector", "--cli", url, "--transport", "http"]
    signed_in = ["--header", f"Authorization: Bearer {token}"]
    listed = json.loads(await run(*inspector, "--method", "tools/list", *signed_in, folder=modules))
    assert [tool["name"] for tool in listed["tools"]] == told["tools"]
    read = await run(*inspector, "--method", "resources/read", "--uri", "product://42", *signed_in, folder=modules)
    assert json.loads(json.loads(read)["contents"][0]["text"])["name"] == "Mechanical Keyboard"


async def test_the_typescript_sdk_signs_its_user_in(shop: Shop, modules: Path) -> None:
    """From the first 401 to a tool's answer: found, registered, signed in at the page, and let act."""
    url = f"{shop.address('SHOP_GATEWAY_URL')}/mcp"
    told = json.loads(await run("node", "sign_in.mjs", url, "demo@shop.test", "demo", folder=modules))
    assert told == {"order": "123", "scope": "shop"}
