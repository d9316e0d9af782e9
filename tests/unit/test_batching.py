"""Groups: what waits is done together, which callers notice only by the time it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis.database.batching import Batcher

_MAX_BATCH = 64


class Desk:
    """Squares groups of numbers when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.groups: list[list[int]] = []
        self.broken: Exception | None = None

    async def do(self, numbers: Sequence[int]) -> list[int]:
        self.groups.append(list(numbers))
        await self.open.wait()
        if self.broken:
            raise self.broken
        return [number * number for number in numbers]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_waits_is_done_together() -> None:
    """The first goes at once, later items go together, in their order, so many at a time."""
    desk = Desk()
    batcher = Batcher(desk.do, batch_size=_MAX_BATCH)
    first = asyncio.create_task(batcher.submit(0))
    await turns()
    others = [asyncio.create_task(batcher.submit(number)) for number in range(1, _MAX_BATCH + 11)]
    await turns()
    desk.open.set()
    outcomes = await asyncio.gather(first, *others)
    assert [[len(group), group[0]] for group in desk.groups] == [[1, 0], [_MAX_BATCH, 1], [10, _MAX_BATCH + 1]]
    assert outcomes == [number * number for number in range(_MAX_BATCH + 11)]


async def test_a_failure_is_raised_in_the_whole_group_and_the_next_one_is_done() -> None:
    """What breaks one group is raised in each of its callers, and in none after."""
    desk = Desk()
    desk.broken = OSError("gone")
    desk.open.set()
    batcher = Batcher(desk.do, batch_size=_MAX_BATCH)
    assert [
        repr(each) for each in await asyncio.gather(batcher.submit(2), batcher.submit(4), return_exceptions=True)
    ] == ["OSError('gone')"] * 2
    desk.broken = None
    assert await batcher.submit(6) == 36


async def test_a_caller_that_has_given_up_is_left_out() -> None:
    """An item whose caller is gone before its group begins is not done."""
    desk = Desk()
    batcher = Batcher(desk.do, batch_size=_MAX_BATCH)
    first = asyncio.create_task(batcher.submit(0))
    await turns()
    given_up, patient = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(4))
    await turns()
    given_up.cancel()
    await turns()
    desk.open.set()
    await asyncio.gather(first, patient)
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert desk.groups == [[0], [4]]


async def test_groups_that_would_follow_each_other_gather() -> None:
    """With a time between two groups, the first one begins at once, and items that come within it go together."""
    desk = Desk()
    desk.open.set()
    batcher = Batcher(desk.do, every=0.05)
    assert await batcher.submit(0) == 0
    others = []
    for number in (2, 4, 6):
        others.append(asyncio.create_task(batcher.submit(number)))
        await turns()
    assert await asyncio.gather(*others) == [4, 16, 36]
    assert desk.groups == [[0], [2, 4, 6]]
