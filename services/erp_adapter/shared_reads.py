"""Reads that callers share: of one product at a time at most one is under way, however many want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from itertools import islice

from chassis.errors import timed_out
from chassis.resilience import time_left, without_deadline
from services.erp_adapter.domain import StockLevel

# What one call may ask for.
MOST_PRODUCTS = 100
# Calls at a time. Whoever comes while all are under way goes with the next one, so few calls carry many reads.
MOST_CALLS = 2

Read = Callable[[Sequence[str]], Awaitable[list[StockLevel]]]
Answer = asyncio.Future[StockLevel | None]


class SharedReads:
    """Stock levels by `read`, each call shared by all who want one of its products while it is under way.

    A caller may so get a figure that is as old as one call takes. `forget` after a change makes later readers ask anew.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: dict[str, tuple[Answer, Context]] = {}
        self._under_way: dict[str, Answer] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def levels(self, product_ids: Sequence[str]) -> list[StockLevel]:
        """The levels of these products, unknown ones left out. Raises what `read` raises, or DEADLINE_EXCEEDED."""
        answers = [self._answer(product_id) for product_id in product_ids]
        if not answers:
            return []
        self._start()
        # The wait is each caller's own: whoever gives up leaves the others waiting.
        _, late = await asyncio.wait(set(answers), timeout=time_left())
        if late:
            raise timed_out("the ERP")
        return [level for answer in answers if (level := answer.result()) is not None]

    def forget(self) -> None:
        """Let nobody join a read that is under way: it may have been answered before a change."""
        self._under_way.clear()

    def _answer(self, product_id: str) -> Answer:
        if product_id in self._under_way:
            return self._under_way[product_id]
        if product_id not in self._waiting:
            self._waiting[product_id] = asyncio.get_running_loop().create_future(), copy_context()
        return self._waiting[product_id][0]

    def _start(self) -> None:
        while self._waiting and len(self._calls) < MOST_CALLS:
            batch = dict(islice(self._waiting.items(), MOST_PRODUCTS))
            for product_id in batch:
                del self._waiting[product_id]
            answers = {product_id: answer for product_id, (answer, _) in batch.items()}
            self._under_way |= answers
            # In the trace of the caller who has waited longest.
            _, context = next(iter(batch.values()))
            call = asyncio.create_task(self._call(answers), context=context)
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start()

    async def _call(self, answers: dict[str, Answer]) -> None:
        try:
            with without_deadline():
                levels = {level.product_id: level for level in await self._read(list(answers))}
            for product_id, answer in answers.items():
                answer.set_result(levels.get(product_id))
        except Exception as error:  # noqa: BLE001 - it is raised again, to each of those who wait
            for answer in answers.values():
                answer.set_exception(error)
                answer.exception()  # seen, even if nobody waits any more
        finally:
            for product_id, answer in answers.items():
                if self._under_way.get(product_id) is answer:
                    del self._under_way[product_id]
                answer.cancel()  # only where this task was cancelled itself
