"""Tasks that run beside a process's main work for as long as it lives."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from chassis.errors import ShopError

log = logging.getLogger(__name__)

# Seconds: the first pause after a failure, and the longest.
MIN_PAUSE = 0.1
MAX_PAUSE = 5.0
# Seconds from a component's start in which what it depends on may be starting, too: that is no news.
START_GRACE = 20.0
_JITTER = 0.1
_MAX_REASON = 500
# What other systems do to a loop. All else is a fault of ours, and logged with its traceback.
_EXPECTED = (ShopError, OSError)


@asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the coroutines while the block runs and cancel them when it ends.

    One that fails takes the process down with it (the block is cancelled and its error raised): a process without
    its relay or its consumer looks alive and is not, and its supervisor restarts it. A loop is
    written as `forever`, which does not fail.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def ended(task: asyncio.Task[Any], *, name: str, timeout: float) -> None:
    """Cancel a task and wait until it has ended.

    A library may lose a cancellation: one that waits for a task of its own which takes the cancellation in its place,
    for instance. So a task that goes on for `timeout` seconds is cancelled once more, and that is logged.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            log.warning("%s did not end when it was cancelled: cancelled again", name)


class Backoff:
    """Back-off of a component after failures in a row; each change of its state is logged once."""

    def __init__(self, name: str, *, max_pause: float = MAX_PAUSE, start_grace: float = START_GRACE) -> None:
        """`name`: the component, as the log has it ("outbox relay"); `max_pause`: seconds.

        What other systems do to it before it has ever worked is no warning, within the first `start_grace` seconds.
        """
        self._name = name
        self._max_pause = max_pause
        self._pause = 0.0
        self._cause = ""
        self._grace_ends_at = time.monotonic() + start_grace

    def failed(self, error: BaseException) -> float:
        """The seconds to pause: 0.1 after the first failure, doubled after each other, spread by a tenth."""
        self._pause = min(max(MIN_PAUSE, self._pause * 2), self._max_pause)
        cause = type(error).__name__
        expected = isinstance(error, _EXPECTED)
        if expected and time.monotonic() < self._grace_ends_at:
            log.debug("%s waits for a process that is starting", self._name, extra={"reason": str(error)})
        elif cause != self._cause:
            self._cause = cause
            facts = {"reason": f"{cause}: {error}".removesuffix(": ")[:_MAX_REASON]}
            if expected:
                log.warning("%s paused", self._name, extra=facts)
            else:
                log.error("%s paused by an unexpected error", self._name, extra=facts, exc_info=error)
        return self._pause * random.uniform(1 - _JITTER, 1)  # noqa: S311  # nosec B311 # nothing to guess here

    def worked(self) -> None:
        """The component does its work again."""
        if self._cause:
            log.warning("%s resumed", self._name)
        self._pause, self._cause, self._grace_ends_at = 0.0, "", 0.0


async def forever(
    step: Callable[[], Awaitable[float | None]],
    *,
    name: str,
    every: float,
    first: float = 0.0,
    on: asyncio.Event | None = None,
    max_pause: float = MAX_PAUSE,
    start_grace: float = START_GRACE,
    backoff: Backoff | None = None,
) -> None:
    """Run `step` again and again, until cancelled, whatever it raises.

    After a step that has returned, the next one comes `every` seconds later, or after the seconds that it returned;
    earlier when `on` is set (a step that looks at what `on` announces clears it first). After one that has failed it
    comes after a pause that grows up to `max_pause` seconds, and that nothing shortens. `first` is what is waited
    before the first step; `start_grace` is `Backoff`'s. A step may run for long; one that did for `max_pause` seconds
    had worked, unless it has a `backoff` of its own to report that by. A cancellation that a step has swallowed ends
    the loop after that step.
    """
    loop = asyncio.get_running_loop()
    reported, backoff = backoff is not None, backoff or Backoff(name, max_pause=max_pause, start_grace=start_grace)
    await wait(on, first)
    while True:
        _raise_if_cancelled()
        began = loop.time()
        try:
            pause = await step()
        except asyncio.CancelledError as error:
            _raise_if_cancelled()
            # What the step waited for was cancelled (a call on a channel that closed), not this task.
            await asyncio.sleep(backoff.failed(error))
        except Exception as error:  # noqa: BLE001 - that is what this loop is for
            _raise_if_cancelled()
            if not reported and loop.time() - began >= max_pause:
                backoff.worked()
            await asyncio.sleep(backoff.failed(error))
        else:
            backoff.worked()
            await wait(on, every if pause is None else pause)


async def in_batches(step: Callable[[], Awaitable[int]], *, size: int, pause: float = 0.05) -> int:
    """Run `step` until it finds fewer than `size`, with so many seconds after each; returns the sum of what they found.

    For deletions in small transactions: others that write meanwhile wait for one batch at most.
    """
    total = 0
    while True:
        found = await step()
        total += found
        await asyncio.sleep(pause)  # after the last one, too: the next table's batches follow it
        if found < size:
            return total


def _raise_if_cancelled() -> None:
    """Raise the cancellation of this task, also one that was swallowed, or overtaken by another error."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def wait(event: asyncio.Event | None, seconds: float | None) -> bool:
    """Wait for an event, at most so many seconds (None: without end); whether it is set."""
    if event is None:
        await asyncio.sleep(seconds or 0)
        return False
    # Not `wait_for`: Python 3.11's drops a cancellation that comes together with the event.
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
