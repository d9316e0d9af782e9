"""Concurrent reads of one article share one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from chassis.errors import Kind, ShopError
from chassis.resilience import deadline_in
from services.erp_adapter.domain import StockLevel
from services.erp_adapter.shared_reads import MOST_CALLS, MOST_PRODUCTS, SharedReads

NOW = datetime.now(UTC)


class FakeErp:
    """Answers when it is let: with 1 piece of the first call, 2 of the second, …; of `unknown` with nothing."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, product_ids: Sequence[str]) -> list[StockLevel]:
        self.calls.append(list(product_ids))
        number = len(self.calls)
        await self.open.wait()
        if self.error:
            raise self.error
        return [StockLevel(each, number, NOW) for each in product_ids if each != "unknown"]


async def turns() -> None:
    """Let everybody run who can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_readers_of_one_product_share_a_call() -> None:
    """Two hundred readers of one product make one call, those of an unknown one too."""
    erp = FakeErp()
    reads = SharedReads(erp.read)
    readers = [asyncio.create_task(reads.levels(["42", "unknown"])) for _ in range(200)]
    await turns()
    late = asyncio.create_task(reads.levels(["42"]))
    await turns()
    erp.open.set()
    assert await asyncio.gather(*readers, late) == [[StockLevel("42", 1, NOW)]] * 201
    assert erp.calls == [["42", "unknown"]]
    assert await reads.levels(["42"]) == [StockLevel("42", 2, NOW)]


async def test_calls_are_few_and_full() -> None:
    """While as many calls as may be are under way, those who come later go together, a hundred products a call."""
    erp = FakeErp()
    reads = SharedReads(erp.read)
    readers = []
    for number in range(MOST_CALLS + 150):
        readers.append(asyncio.create_task(reads.levels([str(number)])))
        await turns()
    assert [len(call) for call in erp.calls] == [1] * MOST_CALLS
    erp.open.set()
    await asyncio.gather(*readers)
    assert [len(call) for call in erp.calls] == [*[1] * MOST_CALLS, MOST_PRODUCTS, 50]


async def test_nobody_joins_a_read_from_before_a_change() -> None:
    """Whoever asks after a change is answered by a call that began after it."""
    erp = FakeErp()
    reads = SharedReads(erp.read)
    before = asyncio.create_task(reads.levels(["42"]))
    await turns()
    reads.forget()
    after = asyncio.create_task(reads.levels(["42"]))
    await turns()
    erp.open.set()
    assert [level.on_hand for level in [*await before, *await after]] == [1, 2]


async def test_whoever_gives_up_leaves_the_others_waiting() -> None:
    """The first reader's deadline and another's cancellation are theirs alone."""
    erp = FakeErp()
    reads = SharedReads(erp.read)
    with deadline_in(0.01), pytest.raises(ShopError, match="DEADLINE_EXCEEDED"):
        await reads.levels(["42"])
    cancelled = asyncio.create_task(reads.levels(["42"]))
    patient = asyncio.create_task(reads.levels(["42"]))
    await turns()
    cancelled.cancel()
    erp.open.set()
    assert await patient == [StockLevel("42", 1, NOW)]
    assert len(erp.calls) == 1


async def test_a_failure_is_everybodys() -> None:
    """What the call fails with is raised to each of its readers, and the next reader tries again."""
    erp = FakeErp()
    reads = SharedReads(erp.read)
    erp.error = ShopError("ERP_FAILED", "the ERP failed", Kind.UNAVAILABLE)
    erp.open.set()
    failed = await asyncio.gather(*(reads.levels(["42"]) for _ in range(3)), return_exceptions=True)
    assert failed == [erp.error] * 3
    erp.error = None
    assert await reads.levels(["42"]) == [StockLevel("42", 2, NOW)]
