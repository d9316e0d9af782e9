"""The backlog from memory for half a second: one query for all orders that are placed within it.

An adapter of `WaitingOrders` beside `SqlOrderStore`, which it calls; both are held to the same contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.resilience.request_coalescing import CoalescedReads
from services.orders.ports import Backlog, WaitingOrders

# Seconds for which a backlog is kept. It is compared with an age of many seconds.
_KEEP = 0.5
_WHOLE = "backlog"


class CachedBacklog:
    def __init__(self, waiting: WaitingOrders) -> None:
        self._waiting = waiting
        self._reads = CoalescedReads("orders", self._read, keep=_KEEP)

    async def backlog(self) -> Backlog:
        return (await self._reads.get([_WHOLE]))[_WHOLE]

    async def _read(self, keys: Sequence[str]) -> Mapping[str, Backlog]:
        return dict.fromkeys(keys, await self._waiting.backlog())
