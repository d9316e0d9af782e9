"""Request coalescing: concurrent reads of one key share one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from itertools import islice
from typing import Generic, TypeVar

from chassis.errors import timed_out
from chassis.resilience.deadlines import time_left, without_deadline

# Keys of one call at most.
MAX_KEYS = 100
# Calls at a time. A read that arrives while all are under way joins the next one, so few calls carry many reads.
MAX_CALLS = 2

Found = TypeVar("Found")


class CoalescedReads(Generic[Found]):
    """Results of `read` by key; calls for a key that is being read share that read.

    So an answer may be as old as one call takes and `keep` seconds. `forget` after a change makes later
    readers call again. A call is made in the context of one of its callers, so its answer must not depend on a caller's
    rights.
    """

    def __init__(
        self,
        upstream: str,
        read: Callable[[Sequence[str]], Awaitable[Mapping[str, Found]]],
        *,
        timeout: float | None = None,
        keep: float = 0.0,
    ) -> None:
        """`read` leaves out what it does not find.

        `timeout`: seconds that a caller waits, whatever its deadline. `keep`: seconds for which what was found is
        given to later callers as well.
        """
        self._upstream = upstream
        self._read = read
        self._timeout = timeout
        self._keep = keep
        self._waiting: dict[str, tuple[asyncio.Future[Found | None], Context]] = {}
        self._under_way: dict[str, asyncio.Future[Found | None]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def get(self, keys: Sequence[str]) -> dict[str, Found]:
        """Read values by key, in the order of `keys`, known ones only. Raises as `read` does, or DEADLINE_EXCEEDED."""
        answers = {key: self._answer(key) for key in keys}
        if not answers:
            return {}
        self._start()
        if not all(answer.done() for answer in answers.values()):
            # The wait is each caller's own: one that gives up leaves the others waiting.
            limits = [limit for limit in (time_left(), self._timeout) if limit is not None]
            _, late = await asyncio.wait(answers.values(), timeout=min(limits, default=None))
            if late:
                raise timed_out(self._upstream)
        return {key: found for key, answer in answers.items() if (found := answer.result()) is not None}

    def forget(self) -> None:
        """Let no later call join a read that is under way: it may have been answered before a change."""
        self._under_way.clear()

    def _answer(self, key: str) -> asyncio.Future[Found | None]:
        if key in self._under_way:
            return self._under_way[key]
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future(), copy_context()
        return self._waiting[key][0]

    def _start(self) -> None:
        while self._waiting and len(self._calls) < MAX_CALLS:
            batch = dict(islice(self._waiting.items(), MAX_KEYS))
            for key in batch:
                del self._waiting[key]
            answers = {key: answer for key, (answer, _) in batch.items()}
            self._under_way |= answers
            # In the trace of the caller that has waited longest.
            _, context = next(iter(batch.values()))
            call = asyncio.create_task(self._call(answers), context=context)
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start()

    async def _call(self, answers: dict[str, asyncio.Future[Found | None]]) -> None:
        try:
            with without_deadline():
                found = await self._read(list(answers))
            for key, answer in answers.items():
                answer.set_result(found.get(key))
        except Exception as error:  # noqa: BLE001 - it is raised again, in each waiting caller
            for answer in answers.values():
                answer.set_exception(error)
                answer.exception()  # seen, even if no caller waits any more
            self._over(answers)
        except asyncio.CancelledError:
            for answer in answers.values():
                answer.cancel()
            self._over(answers)
            raise
        else:
            if self._keep:
                asyncio.get_running_loop().call_later(self._keep, self._over, answers)
            else:
                self._over(answers)

    def _over(self, answers: Mapping[str, asyncio.Future[Found | None]]) -> None:
        for key, answer in answers.items():
            if self._under_way.get(key) is answer:
                del self._under_way[key]
