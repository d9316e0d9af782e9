"""Our side of RFC 6455, as the Autobahn testsuite's fuzzing client sees it. `make autobahn` installs and runs it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from services.notifier.bootstrap import Settings
from tests.notifier.conftest import Stage
from tests.notifier.processes import process

_BUILD = Path(__file__).parents[2] / "build/autobahn"
# 12 and 13 are about permessage-deflate, which we do not offer: it halves what a copy delivers.
_COMPRESSION = ["12.*", "13.*"]
_PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
_CASES = 301


def _suite() -> list[str]:
    """The command; empty when the suite is not installed."""
    installed = _BUILD / "bin/wstest"
    return shlex.split(os.environ.get("WSTEST", "") or shutil.which("wstest") or str(installed) * installed.exists())


@pytest.mark.skipif(not _suite(), reason="not run: needs the Autobahn testsuite, which `make autobahn` installs")
@pytest.mark.timeout(300)
async def test_fuzzing_client_finds_nothing(stage: Stage, tmp_path: Path) -> None:
    """Every case but compression passes: framing, pings, reserved bits, opcodes, fragments, UTF-8, limits, closing."""
    async with process(stage, SHOP_NOTIFIER_ECHO="true") as (_, copy):
        spec = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": "notifier", "url": f"ws://127.0.0.1:{copy.port}/echo"}],
            "cases": ["*"],
            "exclude-cases": _COMPRESSION,
            "exclude-agent-cases": {},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        client = await asyncio.create_subprocess_exec(
            *_suite(),
            "--mode=fuzzingclient",
            f"--spec={tmp_path / 'spec.json'}",
            env={**os.environ, "PYTHONUSERBASE": str(_BUILD)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            assert await client.wait() == 0
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
    cases = json.loads((tmp_path / "reports/index.json").read_text())["notifier"]
    failed = {case: verdict for case, verdict in cases.items() if not _PASSED.issuperset(_verdicts(verdict))}
    assert failed == {}
    assert len(cases) == _CASES


def _verdicts(case: dict[str, object]) -> set[object]:
    return {case["behavior"], case["behaviorClose"]}


def test_production_does_not_echo(tmp_path: Path) -> None:
    """The path that the suite needs is off, and production refuses to start with it."""
    assert not Settings(data_dir=tmp_path).echoes()
    with pytest.raises(ValueError, match="SHOP_NOTIFIER_ECHO"):
        Settings(data_dir=tmp_path, env="production", notifier_echo=True).echoes()
