"""Concurrent reads of one key share one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis.errors import Kind, ShopError
from chassis.resilience.deadlines import deadline_in
from chassis.resilience.request_coalescing import MAX_CALLS, MAX_KEYS, CoalescedReads
from tests.waiting import eventually


class FakeUpstream:
    """Answers when it is let: with 1 in the first call, 2 in the second, …; of `unknown` with nothing."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, keys: Sequence[str]) -> dict[str, int]:
        self.calls.append(list(keys))
        number = len(self.calls)
        await self.open.wait()
        if self.error:
            raise self.error
        return {key: number for key in keys if key != "unknown"}


async def turns() -> None:
    """Let every ready task run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_readers_of_one_product_share_a_call() -> None:
    """Two hundred readers of one key make one call, those of an unknown one too."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read)
    readers = [asyncio.create_task(reads.get(["42", "unknown"])) for _ in range(200)]
    await turns()
    late = asyncio.create_task(reads.get(["42"]))
    await turns()
    upstream.open.set()
    assert await asyncio.gather(*readers, late) == [{"42": 1}] * 201
    assert upstream.calls == [["42", "unknown"]]
    assert await reads.get(["42"]) == {"42": 2}


async def test_calls_are_few_and_full() -> None:
    """While as many calls as may be are under way, later callers go together, a hundred keys a call."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read)
    readers = []
    for number in range(MAX_CALLS + 150):
        readers.append(asyncio.create_task(reads.get([str(number)])))
        await turns()
    assert [len(call) for call in upstream.calls] == [1] * MAX_CALLS
    upstream.open.set()
    await asyncio.gather(*readers)
    assert [len(call) for call in upstream.calls] == [*[1] * MAX_CALLS, MAX_KEYS, 50]


async def test_no_reader_joins_a_read_from_before_a_change() -> None:
    """A read after a change is answered by a call that began after it."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read)
    before = asyncio.create_task(reads.get(["42"]))
    await turns()
    reads.forget()
    after = asyncio.create_task(reads.get(["42"]))
    await turns()
    upstream.open.set()
    assert [await before, await after] == [{"42": 1}, {"42": 2}]


async def test_a_caller_that_gives_up_leaves_the_others_waiting() -> None:
    """The first reader's deadline and another's cancellation are theirs alone."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read)
    with deadline_in(0.01), pytest.raises(ShopError, match="DEADLINE_EXCEEDED"):
        await reads.get(["42"])
    cancelled = asyncio.create_task(reads.get(["42"]))
    patient = asyncio.create_task(reads.get(["42"]))
    await turns()
    cancelled.cancel()
    upstream.open.set()
    assert await patient == {"42": 1}
    assert len(upstream.calls) == 1


async def test_a_failure_is_raised_in_every_caller() -> None:
    """What the call fails with is raised to each of its readers, and the next reader tries again."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read)
    upstream.error = ShopError("FAILED", "it failed", Kind.UNAVAILABLE)
    upstream.open.set()
    failed = await asyncio.gather(*(reads.get(["42"]) for _ in range(3)), return_exceptions=True)
    assert failed == [upstream.error] * 3
    upstream.error = None
    assert await reads.get(["42"]) == {"42": 2}


async def test_timeout_ends_a_wait_before_the_deadline() -> None:
    """Where what is read can be done without, no caller waits for it longer than it is worth."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read, timeout=0.01)
    with deadline_in(10), pytest.raises(ShopError, match="DEADLINE_EXCEEDED"):
        await reads.get(["42"])


async def test_what_was_found_serves_for_a_while() -> None:
    """What is kept is given to later callers, until it was kept long enough or has changed."""
    upstream = FakeUpstream()
    upstream.open.set()
    reads = CoalescedReads("upstream", upstream.read, keep=60)
    assert [await reads.get(["42"]), await reads.get(["42"])] == [{"42": 1}, {"42": 1}]
    reads.forget()
    assert await reads.get(["42"]) == {"42": 2}
    brief = CoalescedReads("upstream", upstream.read, keep=0.01)
    assert await brief.get(["42"]) == {"42": 3}

    async def asked_anew() -> bool:
        return await brief.get(["42"]) != {"42": 3}

    await eventually(asked_anew)


async def test_a_call_that_is_cancelled_is_not_joined() -> None:
    """A reader that waits for a call that is cancelled gets an error, and the next reader gets another call."""
    upstream = FakeUpstream()
    reads = CoalescedReads("upstream", upstream.read)
    before = asyncio.all_tasks()
    reader = asyncio.create_task(reads.get(["42"]))
    await turns()
    (call,) = asyncio.all_tasks() - before - {reader}
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    upstream.open.set()
    assert await reads.get(["42"]) == {"42": 2}
