"""The life of a process: start, say that it is ready, work until told to stop, drain, end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from chassis import logs
from chassis.settings import ProcessSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """What `bootstrap.run` yields: where the process listens."""

    port: int = 0


def main(name: str, run: Callable[[], AbstractAsyncContextManager[object]]) -> None:
    """Run a process until SIGTERM or SIGINT. `run` is its `bootstrap.run`: entering it starts, leaving it drains."""
    # Imported here: importing it sets up nothing, but a test that never calls main need not have it.
    import uvloop

    settings = ProcessSettings()
    logs.configure(name, log_format=settings.log_format, level=settings.log_level)
    uvloop.run(_live(run))


async def _live(run: Callable[[], AbstractAsyncContextManager[object]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with run():
        # What is there now stays. To look at all of it again costs each full collection 40 ms, in which nobody is
        # answered: it was most of webhooks' 99th percentile.
        gc.freeze()
        notify_ready()
        log.debug("ready")
        await stop.wait()
        log.debug("stopping")


def notify_ready() -> None:
    """Tell the supervisor: a newline on the file descriptor that SHOP_READY_FD names, if there is one."""
    descriptor = os.environ.pop("SHOP_READY_FD", "")
    if descriptor:
        os.write(int(descriptor), b"\n")
        os.close(int(descriptor))
