"""Booking stock changes in the ERP: which of its errors are worth waiting for."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import cast

import pytest

from chassis.errors import Kind, ShopError, timed_out, unavailable
from services.inventory.domain import Adjustment
from services.inventory.erp_sync import ErpSync
from services.inventory.ports import Erp, StockStore

COUNTED_AT = datetime(2026, 3, 1, tzinfo=UTC)
PASSING = [
    unavailable("ERP"),
    timed_out("ERP"),
    ShopError("OVERLOADED", "too many calls: try again later", Kind.EXHAUSTED),
    ShopError("UNAUTHENTICATED", "the token has expired", Kind.UNAUTHENTICATED),
    ShopError("SERVICE_NOT_RECOGNISED", "users does not recognise inventory", Kind.INTERNAL),
]


class FakeStore:
    """Fake: three hundred stock changes that wait to be booked."""

    def __init__(self) -> None:
        self.waiting = [Adjustment(f"a{number:03}", "42", 1, COUNTED_AT) for number in range(300)]

    async def unbooked(self, limit: int, *, after: Adjustment | None = None) -> list[Adjustment]:
        return [each for each in self.waiting if after is None or each.id > after.id][:limit]

    async def note_booked(self, ids: list[str]) -> None:
        self.waiting = [each for each in self.waiting if each.id not in ids]


class FailingErp:
    """Fake: fails with an error until it is `well`; counts its calls."""

    def __init__(self, error: BaseException) -> None:
        self.well = False
        self.calls = 0
        self._error = error

    async def book(self, _: Adjustment) -> None:
        self.calls += 1
        if not self.well:
            raise self._error


async def test_any_number_of_rejections_hold_up_nothing_after_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was counted after any number of rejected changes is booked; each rejection is logged once."""
    monkeypatch.setattr("services.inventory.erp_sync._REJECTED_SECONDS", 0)
    store = FakeStore()
    rejected = {each.id for each in store.waiting}
    store.waiting.append(Adjustment("late", "7", 1, COUNTED_AT))

    class Rejecting:
        async def book(self, adjustment: Adjustment) -> None:
            if adjustment.id in rejected:
                raise ShopError("REFERENCE_REUSED", "taken", Kind.PRECONDITION)

    sync = ErpSync(cast("StockStore", store), cast("Erp", Rejecting()))
    for _ in range(4):
        await sync._book()
    assert {each.id for each in store.waiting} == rejected
    assert len([message for message in caplog.messages if "rejected" in message]) == len(rejected)
    # And all of them are tried again.
    rejected.clear()
    for _ in range(4):
        await sync._book()
    assert not store.waiting


@pytest.mark.parametrize(
    "error", [*PASSING, asyncio.CancelledError()], ids=lambda error: getattr(error, "code", "closed")
)
async def test_error_that_passes_by_itself_is_waited_for(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """One group of calls at most before each pause, and nothing is logged as rejected; afterwards all are booked."""
    store, erp = FakeStore(), FailingErp(error)
    sync = ErpSync(cast("StockStore", store), cast("Erp", erp))
    with caplog.at_level(logging.INFO):
        assert await sync._book() >= 1
        assert erp.calls <= 8
        assert await sync._book() >= 1
        assert erp.calls <= 16
    assert not [record for record in caplog.records if "rejected" in record.getMessage()]
    erp.well = True
    while store.waiting:
        await sync._book()
