"""The link proxy as a process of `shop up --lab`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shop.errors import Refused
from shop.fault.links import plan
from shop.fault.links.control import controlled
from shop.fault.links.proxy import Proxy, proxying

# Less than the supervisor's grace.
_DRAIN_SECONDS = 8.0


@asynccontextmanager
async def run() -> AsyncIterator[Proxy]:
    """Serve the links that SHOP_LAB_PLAN names, and their control socket, while the block runs.

    Raises `Refused` where it names none, as outside of a lab.
    """
    path = Path(os.environ.get(plan.PLAN, ""))
    try:
        links = plan.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{plan.PLAN} names no plan of links: `shop up --lab` makes one, and starts link_proxy"
        ) from error
    async with proxying(links) as proxy, controlled(proxy, plan.socket_path(path.parent)):
        yield proxy
        await proxy.drained(_DRAIN_SECONDS)
