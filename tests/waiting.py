"""Waiting for a condition instead of sleeping for a guess."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(probe: Callable[[], Awaitable[T | None]], *, within: float = 30.0) -> T: ...


@overload
async def eventually(probe: Callable[[], T | None], *, within: float = 30.0) -> T: ...


async def eventually(probe: Callable[[], T | Awaitable[T | None] | None], *, within: float = 30.0) -> T:
    """Ask `probe` again and again until its answer is true, and return that answer.

    An `AssertionError` from the probe counts as "not yet". After `within` seconds the last one is raised, or a
    `TimeoutError` that shows the last answer.
    """
    deadline = time.monotonic() + within
    pause = 0.005
    while True:
        failure: AssertionError | None = None
        answer: T | None = None
        try:
            outcome = probe()
            answer = await outcome if inspect.isawaitable(outcome) else outcome
            if answer:
                return answer
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or TimeoutError(f"not true within {within} s; last answer: {answer!r}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)
