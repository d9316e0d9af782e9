"""What others check a GraphQL server by."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.graphql.conftest import Client

AUDIT = Path(__file__).parent / "audit"


async def run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(100):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-2_000:]
    return output.decode()


@pytest.mark.npm
async def test_graphql_http_audits(client: Client, tmp_path: Path) -> None:
    """The server audits of the npm package graphql-http find no error and nothing to warn of."""
    for file in AUDIT.iterdir():
        shutil.copy(file, tmp_path)
    await run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", folder=tmp_path)
    lines = await run("node", "audit.mjs", client.url, folder=tmp_path)
    found = [json.loads(line) for line in lines.splitlines()]
    assert len(found) > 50
    assert [each for each in found if each["status"] != "ok"] == []
