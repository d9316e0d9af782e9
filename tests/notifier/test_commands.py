"""Commands of a client whose connection ends while one of them is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from chassis.observability.tracing import Telemetry
from services.notifier.metrics import Metrics
from services.notifier.transports.commands import Commands


class SlowSession:
    """Fake: a client that catches up, and joins what is live when it has."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.joined = False

    async def subscribe(self, topics: Sequence[str], after: object) -> None:
        try:
            self.began.set()
            await self.go_on.wait()
            self.joined = True
        finally:
            self.left.set()


async def test_nothing_is_carried_out_for_a_client_that_has_gone() -> None:
    """A connection that is cut while its last command is waited for ends the command, too."""
    session = SlowSession()
    commands = Commands(cast("Any", session), cast("Any", None), Telemetry("test"), Metrics())
    commands.receive('{"action": "subscribe", "topics": ["order.*"], "after": "1"}')
    await session.began.wait()
    finishing = asyncio.create_task(commands.finish())
    await asyncio.sleep(0)
    finishing.cancel()
    with suppress(asyncio.CancelledError):
        await finishing
    session.go_on.set()
    await session.left.wait()
    assert not session.joined
