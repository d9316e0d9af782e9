"""The life of a process: start, report readiness, work until a signal, drain, end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from chassis.errors import REFUSED, wrong_setting
from chassis.observability import logs
from chassis.settings import ProcessSettings

log = logging.getLogger(__name__)

# Objects that may be made before the youngest are looked at, instead of 700. A GraphQL query makes hundreds, which go
# by themselves when it is answered: to look at them first cost 3 % of its processor time.
_GARBAGE_THRESHOLD = 5_000


@dataclass(frozen=True, slots=True)
class Running:
    """The result of `bootstrap.run`: where the process listens."""

    port: int = 0


def main(name: str, run: Callable[[], AbstractAsyncContextManager[object]]) -> None:
    """A process's own program: `run_process`, with a wrong setting as one line of the log and exit code 2."""
    try:
        run_process(name, run)
    except ValueError as error:
        if not (wrong := wrong_setting(error)):
            raise
        log.critical("%s", wrong)
        raise SystemExit(REFUSED) from None


def run_process(name: str, run: Callable[[], AbstractAsyncContextManager[object]]) -> None:
    """Run a process until SIGTERM or SIGINT. `run` is its `bootstrap.run`: entering it starts, leaving it drains."""
    # Imported here: importing it sets up nothing, but a test that never calls main need not have it.
    import uvloop

    # For what is wrong with the settings themselves.
    logs.configure(name, log_format=os.environ.get("SHOP_LOG_FORMAT", ""))
    settings = ProcessSettings()
    logs.configure(name, log_format=settings.log_format, level=settings.log_level)
    uvloop.run(_live(run, ready_descriptor()))


async def _live(run: Callable[[], AbstractAsyncContextManager[object]], descriptor: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with run() as running:
        tune_garbage_collection()
        if not notify_ready(descriptor):
            # Started by hand or in a container: no supervisor prints it.
            port = running.port if isinstance(running, Running) else 0
            log.info("ready; Ctrl-C stops it", extra={"port": port} if port else {})
        await stop.wait()
        log.debug("stopping")


def tune_garbage_collection() -> None:
    """Exclude start-up objects from garbage collection, and collect less often.

    To look at all of them again costs each full collection 40 ms, in which no request is answered: it was most of
    webhooks' 99th percentile.
    """
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


def ready_descriptor() -> int | None:
    """The file descriptor that SHOP_READY_FD names, if there is one; programs that this process starts do not get it.

    Called before any other thread runs: gRPC's read the environment, and changing it meanwhile may end the process.
    """
    descriptor = os.environ.pop("SHOP_READY_FD", "")
    return int(descriptor) if descriptor else None


def notify_ready(descriptor: int | None) -> bool:
    """Notify the supervisor by a newline on its file descriptor; False without a descriptor."""
    if descriptor is None:
        return False
    os.write(descriptor, b"\n")
    os.close(descriptor)
    return True
