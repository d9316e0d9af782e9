"""A benchmark that is ended by a signal ends what it has started, and leaves no folder behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.test_ended_commands import marked, runs
from tests.waiting import eventually

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="not run: needs Linux's /proc"),
]


@pytest.mark.parametrize(("module", "children"), [("bench.start", 3), ("bench.realtime", 1), ("bench.graphql", 1)])
async def test_nothing_is_left_of_a_benchmark_that_is_terminated(module: str, children: int, tmp_path: Path) -> None:
    """Neither a process nor a temporary folder, once it has begun to start others."""
    mark = uuid.uuid4().hex
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**os.environ, "LEFT_BY": mark, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    def others() -> list[int]:
        return [pid for pid in marked(mark) if pid != bench.pid and runs(pid)]

    def folders() -> list[Path]:
        return list(tmp_path.glob("bench-*"))

    try:
        await eventually(lambda: len(others()) >= children, within=60)
        bench.send_signal(signal.SIGTERM)
        await asyncio.wait_for(bench.wait(), 45)
        assert bench.returncode == 128 + signal.SIGTERM
        # One that was just being started ends at the end of its input.
        await eventually(lambda: not others())
        assert folders() == []
    finally:
        for pid in marked(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await bench.wait()
