"""README's two commands on a machine that has Python, make and nothing else, for each Python that is to be had."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.compose.stack import ROOT, engine

pytestmark = pytest.mark.timeout(600)

PYTHONS = ["3.11", "3.13", "3.14"]
# `make up` until all processes are ready, then, beside it, `make tour`; then Ctrl-C.
COMMANDS = """
make up >up.log 2>&1 & up=$!
for _ in $(seq 300); do grep -q "all processes are ready" up.log && break; kill -0 $up || break; sleep 1; done
grep -q "all processes are ready" up.log && make tour; tour=$?
kill -INT $up; cat up.log; exit $tour
"""


@pytest.fixture(params=PYTHONS)
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh machine with a copy of the repository; skips, saying so, where that Python's image cannot be had."""
    if not os.environ.get("TEST_COMPOSE"):
        pytest.skip("not run: needs a container engine and minutes, make compose-test")
    if reason := engine():
        pytest.fail(reason)
    base = f"python:{request.param}-slim"
    there = subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False)
    if there.returncode and subprocess.run(["docker", "pull", base], capture_output=True, check=False).returncode:
        pytest.skip(f"not run: the image {base} is not here and cannot be pulled")
    tag = f"polyglot-shop-bare:{uuid.uuid4().hex[:8]}"
    build = ["docker", "build", "--quiet", "--build-arg", f"PYTHON={request.param}", "--tag", tag]
    subprocess.run([*build, "--file", "tests/compose/bare/Dockerfile", "."], cwd=ROOT, check=True)
    yield tag
    subprocess.run(["docker", "image", "rm", "--force", tag], capture_output=True, check=True)


async def test_two_commands_are_enough(image: str) -> None:
    """`make up` starts every process and `make tour` finds every hop of an order."""
    process = await asyncio.create_subprocess_exec(
        "docker", "run", "--rm", "--init", image, "bash", "-c", COMMANDS,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()[-3000:]
    assert "all as they should be" in printed.decode()
