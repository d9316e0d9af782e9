"""E9's clients work: those in Python print the product's name, against the servers that they are written for."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")
pytest.importorskip("connectrpc", reason="not run: needs connectrpc, of the development environment")

from bench.compare.adapters.rows import brief
from bench.compare.bench import Bench
from bench.compare.experiments.e9_people import FILES, PEOPLE
from bench.compare.measure.folder import Folder
from bench.compare.variants import BY_NAME

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
async def test_each_python_client_prints_the_name(tmp_path: Path) -> None:
    """As it is counted, with the server's port as its argument."""
    async with AsyncExitStack() as stack:
        bench = Bench(Folder(tmp_path), stack, quick=True, bare=True)
        for protocol in PEOPLE:
            pair = await bench.pair(BY_NAME["connect-json" if protocol == "connect" else protocol])
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-",
                str(pair.port),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(60):
                printed, _ = await process.communicate((FILES / f"{protocol}.python").read_bytes())
            assert printed.decode().strip() == brief("42")["name"], protocol
