"""docs/faults.md is true: its commands run, its scenario is one, and it names what there is."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from shop.fault.links.toxics import Kind
from shop.fault.scenarios.own_shop import own_shop
from shop.fault.scenarios.promises import PROMISES
from shop.fault.scenarios.scenario import of
from tests.forking import popen

GUIDE = (Path(__file__).parents[2] / "docs/faults.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
UP = ".venv/bin/shop up --lab\n"


def test_the_guide_names_every_toxic_and_promise() -> None:
    """In its tables, and no other."""
    named = set(re.findall(r"`([a-z-]+)(?:=[^`]*)?`", "".join(re.findall(r"^\|.*?\|", GUIDE, re.MULTILINE))))
    assert named == set(Kind) | PROMISES.keys()


def test_the_guides_scenario_is_one() -> None:
    """It is read as it stands."""
    (block,) = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(of("guide", tomllib.loads(block)).faults) == 2


@pytest.mark.long
@pytest.mark.system
@pytest.mark.timeout(400)
async def test_the_guides_commands_run() -> None:
    """Each of them, on a shop that was started with the first one."""
    assert UP in BLOCKS
    with own_shop({name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}) as env:
        for block in BLOCKS:
            if block == UP:  # it is what `own_shop` has started
                continue
            commands = "set -e\n" + block.replace(".venv/bin/shop", f"{popen.shell_python()} -m shop")
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", commands, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, f"{block}\n{output.decode()}"
