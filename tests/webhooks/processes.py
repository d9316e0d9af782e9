"""Real processes, to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def real_process(
    module: str, data_dir: Path, environment: Mapping[str, str], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m module arguments…`, once it has said that it is ready; killed at the end if it still runs."""
    ready, told = os.pipe()
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SHOP_")},
        "SHOP_DATA_DIR": str(data_dir),
        "SHOP_OTLP_URL": "",
        "SHOP_LOG_LEVEL": "warning",
        "SHOP_READY_FD": str(told),
        **environment,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, env=env, pass_fds=[told])
    os.close(told)
    try:
        if await asyncio.to_thread(os.read, ready, 1) != b"\n":
            raise RuntimeError(f"{module} ended before it was ready")
        yield process
    finally:
        os.close(ready)
        if process.returncode is None:
            process.kill()
        await process.wait()
