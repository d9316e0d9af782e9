"""Schemathesis against the whole shop: whatever the document allows and forbids, tried by a machine."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.observability.logs import TextFormatter
from tests.shop import Shop, shop_in_one_loop

ROOT = Path(__file__).parents[2]
SEED = "20260105"
EXAMPLES = "10"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path, {"SHOP_SIGN_IN_RATE_LIMIT": "100000/minute"}) as running:
        yield running


async def run(shop: Shop, token: str) -> tuple[int, str]:
    """All phases with this token: examples, coverage, fuzzing, stateful. The exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"),
        *("--config-file", str(ROOT / "schemathesis.toml"), "run", f"{shop.http.base_url}/openapi.json"),
        *("--header", f"Authorization: Bearer {token}"),
        *("--max-examples", EXAMPLES, "--seed", SEED, "--generation-database", "none"),
        *("--continue-on-failure", "--no-color", "--workers", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


@pytest.mark.timeout(900)
async def test_nothing_is_found(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Neither as a customer nor as an admin does Schemathesis find an answer that the document does not promise."""
    tokens = await shop.token(), await shop.token("admin@shop.test", "admin")
    for code, output in await asyncio.gather(*(run(shop, token) for token in tokens)):
        # What Schemathesis saw of a 500 is a trace id; why it came is in the shop's log alone.
        printed = f"{output}\nthe shop's own errors:\n" + "\n".join(errors(caplog))
        assert code == 0, printed
        for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
            assert f"✅ {phase}" in printed, printed


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the shop has logged as an error so far, with facts and stack traces."""
    text = TextFormatter("shop")
    return [text.format(record) for record in caplog.records if record.levelno >= logging.ERROR]
