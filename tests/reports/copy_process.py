"""A copy of reports as a process of its own: `python -m tests.reports.copy_process [hang]`; settings are SHOP_….

It prints its port once it serves. One that is to `hang` stops between its first effect and the commit, and says so.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

from services.reports import bootstrap
from services.reports.sql_store import sales


def hang_before_commit(add: Callable[..., None]) -> Callable[..., None]:
    """The same effect, after which the process stands still."""

    def adding(connection: Any, generation: int, changes: Any) -> None:
        add(connection, generation, changes)
        if changes:
            sys.stdout.write("hanging\n")
            sys.stdout.flush()
            threading.Event().wait()  # until the process is killed

    return adding


async def serve() -> None:
    async with bootstrap.run() as running:
        sys.stdout.write(f"{running.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    if "hang" in sys.argv:
        sales._add = hang_before_commit(sales._add)
    asyncio.run(serve())
