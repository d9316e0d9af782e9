"""docs/troubleshooting.md: each of its commands is run; and docs/README.md leaves no page out."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.forking import popen
from tests.system.real_shop import real_shop
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_index_has_every_page() -> None:
    """Each page in docs is in the index."""
    index = (ROOT / "docs/README.md").read_text("utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


@pytest.mark.system
@pytest.mark.timeout(300)
async def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    """Every block is run in a running shop and succeeds; at the end the shop and its state are gone."""
    assert BLOCKS[-1].strip().endswith("shop reset"), "what ends the shop comes last"
    async with real_shop(tmp_path) as shop:
        order_id = (await shop.place(("42", 1))).json()["id"]

        async def shipped() -> bool:
            return await shop.status(order_id) == "shipped"

        await eventually(shipped, within=60)
        own = {name: value for name, value in shop.around.shared.items() if not name.startswith("SHOP_WEBHOOK_SECRET")}
        ending = [block for block in BLOCKS if "shop down" in block or "shop reset" in block]
        for block in [*(block for block in BLOCKS if block not in ending), *ending]:
            commands = block.replace("ORDER", order_id).replace("shop reset", "shop reset --yes")
            commands = commands.replace(".venv/bin/shop", f"{popen.shell_python()} -m shop")
            process = await asyncio.create_subprocess_exec(
                *("bash", "-ec", commands), env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            printed, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, f"{commands}\n{printed.decode()}"
    assert not (tmp_path / "orders.sqlite").exists()
