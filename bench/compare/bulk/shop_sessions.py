"""Workers of E6 in the shop: a client that moves a file, with its CPU."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.compare.adapters.port import Link
from bench.compare.bulk.shop_ways import WAYS

_TIMEOUT = 120.0


class FileClient:
    """A customer's client."""

    async def move(self, link: Link, way: str, size: int, file: str) -> dict[str, Any]:
        """Move a file: `seconds`, `cpu` seconds, its id as `file`, and its `sha256`."""
        cpu, began = time.process_time(), time.perf_counter()
        async with asyncio.timeout(_TIMEOUT):
            file, found = await WAYS[way](link, size, file)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "cpu": time.process_time() - cpu, "file": file, "sha256": found}
