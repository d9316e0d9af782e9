"""The notifier as a real process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.notifier.conftest import Copy, Stage
from tests.shop import free_ports


@asynccontextmanager
async def process(
    stage: Stage, *, port: int = 0, **changes: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Copy]]:
    """`python -m services.notifier`, ready; killed at the end if it still lives. `changes` are further settings."""
    port = port or free_ports(1)[0]
    ready, write = os.pipe()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    settings = {
        "SHOP_DATA_DIR": str(stage.data_dir),
        "SHOP_OTLP_URL": "",
        "SHOP_BROKER_URL": stage.broker_url,
        "SHOP_NOTIFIER_PORT": str(port),
        "SHOP_USERS_ADDRESS": stage.users_address,
        "SHOP_ORDERS_ADDRESS": stage.orders_address,
        "SHOP_READY_FD": str(write),
        **changes,
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.notifier", env={**inherited, **settings}, pass_fds=(write,)
    )
    os.close(write)
    try:
        assert await asyncio.to_thread(os.read, ready, 1) == b"\n"
        yield running, Copy(port)
    finally:
        os.close(ready)
        if running.returncode is None:
            running.kill()
            await running.wait()
