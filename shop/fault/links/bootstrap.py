"""The link proxy as a process of `shop up --lab`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shop.fault.links import plan
from shop.fault.links.control import controlled
from shop.fault.links.proxy import Proxy, proxying

# Less than the supervisor's grace.
_DRAIN_SECONDS = 8.0


@asynccontextmanager
async def run() -> AsyncIterator[Proxy]:
    """Serve the links that SHOP_LAB_PLAN names, and their control socket, while the block runs."""
    path = Path(os.environ[plan.PLAN])
    async with proxying(plan.read(path)) as proxy, controlled(proxy, plan.socket_path(path.parent)):
        yield proxy
        await proxy.drained(_DRAIN_SECONDS)
