"""Programs in an interpreter of their own, which has imported nothing before: other tests fork them from a warm one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forking import PROGRAMS, popen
from tests.system.real_shop import real_shop
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
PROCESSES = sorted(name for name in PROGRAMS - {"shop"} if not name.startswith("tests."))
pytestmark = pytest.mark.system


@pytest.mark.parametrize("module", PROCESSES)
def test_a_cold_program_reads_its_settings(module: str) -> None:
    """`python -m MODULE` imports what it needs, and names a setting that is wrong, without a traceback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    env = {**kept, "SHOP_RETRY_DELAYS": "soon", "SHOP_LEGACY_SOAP_PORT": "none"}
    with popen.fresh_interpreters():
        command = [sys.executable, "-m", module]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    output = done.stderr + done.stdout
    assert done.returncode == 2, output
    assert re.search("(SHOP_RETRY_DELAYS|SHOP_LEGACY_SOAP_PORT) (is wrong|cannot be read)", output), output
    assert "Traceback" not in output


async def test_a_cold_shop_ships_an_order(tmp_path: Path) -> None:
    """`python -m shop up` imports what it and its processes need."""
    with popen.fresh_interpreters():
        async with real_shop(tmp_path) as shop:
            order_id = (await shop.place(("42", 1))).json()["id"]

            async def shipped() -> bool:
                return await shop.status(order_id) == "shipped"

            await eventually(shipped, within=60)
