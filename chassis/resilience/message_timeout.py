"""A limit on the pauses of an upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Self, TypeVar

from chassis.errors import Kind, ShopError

_Message = TypeVar("_Message")


class MessageTimeout:
    """Ends a block with UPLOAD_STALLED when one message of an upload takes longer than so many seconds.

    One timer is set for all of them: one for each would cost more than all else that is done for a message.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._waiting_since: float | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._seconds, self._look)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, raised, trace)
        except TimeoutError as error:
            raise ShopError("UPLOAD_STALLED", f"no data received for {self._seconds:g} s", Kind.TIMEOUT) from error

    async def each(self, messages: AsyncIterator[_Message]) -> AsyncGenerator[_Message, None]:
        """The messages; what is done between them may take its time."""
        self._waiting_since = self._loop.time()
        async for message in messages:
            self._waiting_since = None
            yield message
            self._waiting_since = self._loop.time()
        # What is done after the last one is not the sender's time either.
        self._waiting_since = None

    def _look(self) -> None:
        now = self._loop.time()
        since = now if self._waiting_since is None else self._waiting_since
        if now >= since + self._seconds:
            self._limit.reschedule(now)
        else:
            self._timer = self._loop.call_at(since + self._seconds, self._look)
