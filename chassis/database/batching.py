"""Micro-batching (group commit): items submitted while a batch runs go into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Does items in groups, one group at a time. An item does not wait for others: a single one is a group of one."""

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        batch_size: int = 64,
        every: float = 0.0,
    ) -> None:
        """`do` answers each item of a group in order, or raises for all of them; `batch_size` items make a group.

        An answer that is an exception is raised where its item was submitted.

        `every`: seconds from the beginning of one group to the next one's, at least.

        It runs in a context of its own: without the trace, the deadline and the caller of its first item.
        """
        self._do = do
        self._batch_size = batch_size
        self._every = every
        self._next_at = float("-inf")
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The item's answer. A caller that stops waiting does not stop the work; nor is it begun for that caller."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), context=Context())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if (early := self._next_at - loop.time()) > 0:
                await asyncio.sleep(early)
            self._next_at = loop.time() + self._every
            group, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            group = [(item, answer) for item, answer in group if not answer.done()]
            if not group:
                continue
            try:
                answers = await self._do([item for item, _ in group])
            except BaseException as error:
                _settle(group, error)
                if not isinstance(error, Exception):
                    _settle(self._waiting, error)
                    raise
            else:
                for (_, waiting), answer in zip(group, answers, strict=True):
                    if waiting.done():
                        continue
                    if isinstance(answer, Exception):
                        waiting.set_exception(answer)
                    else:
                        waiting.set_result(answer)


def _settle(group: Sequence[tuple[object, asyncio.Future[Answer]]], error: BaseException) -> None:
    for _, answer in group:
        if answer.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            answer.cancel()
        else:
            answer.set_exception(error)
