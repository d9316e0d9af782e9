"""Each command of docs/agents.md does what the page says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from shop.process_table import TABLE
from tests.forking import popen
from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/agents.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


async def printed(commands: str, shop: Shop) -> str:
    """What a reader's terminal shows."""
    for port in (port for spec in TABLE for port in spec.ports):
        commands = commands.replace(f"localhost:{port.default}", f"127.0.0.1:{shop.around.ports[port.setting]}")
    commands = commands.replace(".venv/bin/shop", f"{popen.shell_python()} -m shop")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", commands, cwd=ROOT, env=dict(shop.around.shared), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="not run: the page's commands need curl")
async def test_the_pages_commands_work(shop: Shop) -> None:
    """The first block shows where a token comes from, the second calls a tool; there are no others."""
    challenge, call = BLOCKS
    assert "oauth-protected-resource/mcp" in await printed(challenge, shop)
    answer = json.loads(await printed(call, shop))
    assert answer["result"]["structuredContent"]["items"][0]["id"] == "42"


async def test_the_desktop_clients_entry_names_a_command_that_is_there(shop: Shop) -> None:
    """The JSON for a desktop client is JSON, and `shop mcp` exists."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    entry = json.loads(block)["mcpServers"]["polyglot-shop"]
    assert entry["args"] == ["mcp"]
    assert "MCP" in await printed(".venv/bin/shop mcp --help", shop)
