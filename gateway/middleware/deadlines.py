"""Request deadlines: each request's time budget travels down with every call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chassis.background import forever
from chassis.errors import timed_out
from chassis.http.middleware import Application, Message, Receive, Scope, Send
from chassis.resilience.deadlines import begin_deadline
from gateway.errors import answer
from gateway.middleware.internal_calls import seconds_left

# Seconds after its deadline when a request is broken off, whatever it waits for: an answer with the reason should be
# there by then, but a client that takes no answer must not hold what the request holds.
_GRACE = 1.0
_POLL_SECONDS = 0.25


class Deadlines:
    """Pure ASGI: gives each request its budget, in seconds.

    `watch` ends what does not keep to it. One look at all of them four times a second costs nothing; a timer for each
    request, which hardly ever goes off, 6 us.
    """

    def __init__(self, app: Application, budget_of: Callable[[Scope], float]) -> None:
        self._app = app
        self._budget_of = budget_of
        self._running: dict[asyncio.Task[object], float] = {}
        self._ended: set[asyncio.Task[object]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        budget = self._budget_of(scope)
        left = seconds_left(scope)
        if left is not None:
            budget = min(budget, left)
        begin_deadline(budget)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # the server runs each request in one
        self._running[task] = time.monotonic() + budget + _GRACE
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            if begun:
                raise TimeoutError("the client did not read the response before the deadline") from None
            await answer(timed_out("the gateway"))(scope, receive, send)
        finally:
            del self._running[task]
            self._ended.discard(task)

    async def watch(self) -> None:
        """End what is late, as long as the process lives."""
        await forever(self._end_late, name="deadline watch", every=_POLL_SECONDS, first=_POLL_SECONDS)

    async def _end_late(self) -> None:
        now = time.monotonic()
        for task, end in self._running.items():
            if end < now and task not in self._ended:
                self._ended.add(task)
                task.cancel()
