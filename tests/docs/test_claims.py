"""`docs/claims.md`: all 54 claims, each with a test that is there, and each command prints what it promises."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.docs.test_requests import PORTS
from tests.shop import Shop, shop_in_one_loop
from tools.docs import claims as tool

ROOT = Path(__file__).parents[2]
CLAIMS = tool.claims()
ALL_PORTS = {**PORTS, "localhost:8003": "SHOP_CONSOLE_PORT"}


def test_all_of_them() -> None:
    """There are 54; each has a test that is there; without a command it says so by having none."""
    assert len(CLAIMS) == 54
    for claim in CLAIMS:
        assert (ROOT / claim.test).is_file(), claim.test
        re.compile(claim.see)
    assert tool.main([]) == 0


async def printed(shop: Shop, folder: Path, command: str) -> str:
    """The output of a command in a shell that knows this shop."""
    for written, setting in ALL_PORTS.items():
        command = command.replace(written, f"127.0.0.1:{shop.address(setting)}")
    for name in ("shop", "python"):
        module = "-m shop" if name == "shop" else ""
        command = f'{name}() {{ "{sys.executable}" {module} "$@"; }}\n' + command
    env = {**os.environ, **shop.around.shared, "SHOP_DATA_DIR": str(folder), "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.timeout(600)
async def test_each_command_prints_what_it_promises(tmp_path: Path) -> None:
    """Every command of the page, in a running shop."""
    async with shop_in_one_loop(tmp_path, {"SHOP_REQUEST_BUDGET": "60"}) as shop:
        wrong = {}
        for claim in CLAIMS:
            if claim.command:
                output = await printed(shop, tmp_path, claim.command)
                if not re.search(claim.see, output):
                    wrong[claim.says] = output[-600:]
        assert wrong == {}
