"""Reading a log ahead of what is stored of it."""

from __future__ import annotations

import asyncio

import pytest

from chassis.broker.event_log import LogEntry, Position
from chassis.broker.groups.read_ahead import read_ahead
from chassis.broker.port import BrokerUnavailable


class Cancelled:
    """Fake: a library that is cancelled within itself."""

    trouble = ""
    position = Position()

    def __aiter__(self) -> Cancelled:
        return self

    async def __anext__(self) -> LogEntry:
        raise asyncio.CancelledError


async def test_a_cancellation_of_the_librarys_own_is_not_taken_for_a_silent_log() -> None:
    """Whoever takes batches gets an error, and opens the log anew."""
    async with read_ahead(Cancelled()) as ahead:
        with pytest.raises(BrokerUnavailable, match="cancelled"):
            await ahead.batch()
