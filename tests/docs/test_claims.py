"""`docs/claims.md`: all 54 claims, each with a test that is there, and each command prints what it promises."""

from __future__ import annotations

import ast
import asyncio
import os
import re
from pathlib import Path

import pytest

from protos import contract_checks
from shop.process_table import TABLE
from tests.forking import popen
from tests.shop import Shop, free_ports
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually
from tools.docs import claims as tool

ROOT = Path(__file__).parents[2]
CLAIMS = tool.claims()
# Those that break something or judge everything are alone; the others come first, some at once.
ALONE = re.compile(r"shop fault|shop audit")
CONCURRENCY = 3
# Ports of second copies, as the page has them.
COPIES = ("8100", "8110", "8443", "9001", "50156")
# The settings of a shop that is started for a test, besides its ports.
TOLD = ("SHOP_DATA_DIR", "SHOP_PAYMENT_DELAY", "SHOP_RETRY_DELAYS", "SHOP_SIGN_IN_RATE_LIMIT", "SHOP_REQUEST_BUDGET")


def functions(path: Path) -> set[str]:
    """The names of a file's functions."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_all_of_them() -> None:
    """There are 54, each with a test that is there and a command, or the reason why this shop does not show it."""
    assert len(CLAIMS) == 54
    for claim in CLAIMS:
        assert claim.tests, claim.says
        for test in claim.tests:
            path, _, name = test.partition("::")
            assert name in functions(ROOT / path), test
        re.compile(claim.see)
        assert bool(claim.command) != bool(claim.missing), claim.says
        assert not claim.command or (claim.see and claim.shows), claim.says
    assert tool.main([]) == 0


def test_what_is_run_elsewhere_is_run_there() -> None:
    """The two commands that take long are in a test of their own."""
    elsewhere = {claim.run_by: claim.command for claim in CLAIMS if claim.run_by}
    assert elsewhere.keys() == {"tests/lessons/test_commands.py", "tests/notifier/test_peers.py"}
    lesson = (ROOT / "tests/lessons/test_commands.py").read_text("utf-8")
    assert 'student("see"' in lesson
    assert "5 x GET /v1/products" in lesson
    assert "stopped_reader" in elsewhere["tests/notifier/test_peers.py"]
    assert "def test_stopped_reader" in (ROOT / "tests/notifier/test_peers.py").read_text("utf-8")


class Terminal:
    """A reader's terminal beside a shop, which is elsewhere."""

    def __init__(self, shop: Shop, programs: Path) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
        ports = {name: str(port) for name, port in shop.around.ports.items()}
        told = {name: shop.around.shared[name] for name in TOLD}
        path = f"{programs}{os.pathsep}{own['PATH']}"
        self._env = {**own, **ports, **told, "PATH": path, "COLUMNS": "80", "SHOP_LOG_LEVEL": "warning"}
        programs.mkdir()
        for name, command in (
            ("python", popen.shell_python()),
            ("shop", f"{popen.shell_python()} -m shop"),
            ("buf", f'"{contract_checks.BUF}"'),
        ):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        self._places = {
            str(port.default): str(shop.around.ports[port.setting]) for spec in TABLE for port in spec.ports
        }
        self._data_dir = str(shop.around.data_dir)

    def translated(self, command: str) -> str:
        """The command for this shop; its second copies have ports of their own, for others may run meanwhile."""
        places = {**self._places, **dict(zip(COPIES, map(str, free_ports(len(COPIES))), strict=True))}
        ports = re.compile(rf"(?<=localhost:)\d+|(?<=_PORT=)(?:{'|'.join(COPIES)})\b")
        return (
            ports.sub(lambda found: places[found[0]], command)
            .replace("=.shop/", f"={self._data_dir}/")
            .replace(" .shop/", f" {self._data_dir}/")
        )

    async def run(self, command: str) -> str:
        """What it prints."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", self.translated(command)),
            cwd=ROOT,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(180):
            output, _ = await process.communicate()
        return output.decode(errors="replace")


async def recovered(shop: RealShop) -> bool:
    """Whether nothing is left of what the last command broke: no process that starts, no breaker that is open."""
    answer = await shop.http.get("/v1/products/42/availability")
    return shop.all_ready() and answer.status_code == 200 and answer.json()["stale"] is False


@pytest.mark.long
@pytest.mark.system
@pytest.mark.timeout(900)
async def test_each_command_prints_what_it_promises(tmp_path: Path) -> None:
    """Every command of the page, in one running shop; one that several claims share is run once."""
    commands = list(dict.fromkeys(claim.command for claim in CLAIMS if claim.command and not claim.run_by))
    printed: dict[str, str] = {}
    gate = asyncio.Semaphore(CONCURRENCY)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    async with real_shop(data_dir, {"SHOP_REQUEST_BUDGET": "6", "SHOP_CALL_TIMEOUT": "2"}, lab=True) as shop:
        terminal = Terminal(shop, tmp_path / "bin")

        async def run(command: str) -> None:
            async with gate:
                printed[command] = await terminal.run(command)

        async with asyncio.TaskGroup() as group:
            for command in commands:
                if not ALONE.search(command):
                    group.create_task(run(command))
        for command in commands:
            if ALONE.search(command):
                await eventually(lambda: recovered(shop), within=60)
                await run(command)
    wrong = [
        f"{claim.says}: wanted {claim.see}, saw\n{printed[claim.command][-3000:]}"
        for claim in CLAIMS
        if claim.command in printed and not re.search(claim.see, printed[claim.command])
    ]
    assert not wrong, "\n\n".join(wrong)
    assert len(printed) == len(commands)
