"""Placing orders while the backlog is short enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import false, func, select

from chassis import wall_clock
from chassis.database.database import Database
from chassis.resilience.request_coalescing import CoalescedReads
from services.orders.admission.fair_share import Backlog, refusal
from services.orders.domain import Order
from services.orders.place_order import OrderPlacement
from services.orders.ports import OrderStore
from services.orders.sql_store import WAITING, orders

# Seconds for which one look serves all new orders.
_KEEP = 0.5
_WAITING = "waiting"

_BY_CUSTOMER = (
    select(orders.c.user_id, func.count().label("waiting"), func.min(orders.c.placed_at).label("oldest"))
    .where(WAITING, orders.c.demo == false())
    .group_by(orders.c.user_id)
)


class Admission(OrderPlacement):
    """Places orders while the backlog is short enough. A repeat of an accepted order is always answered."""

    def __init__(
        self,
        placement: OrderPlacement,
        store: OrderStore,
        database: Database,
        *,
        max_age: timedelta,
        clock: Callable[[], datetime] = wall_clock.now,
    ) -> None:
        self._placement = placement
        self._known = store
        self._database = database
        self._max_age = max_age
        self._clock = clock
        self._reads = CoalescedReads("orders", self._read, keep=_KEEP)

    async def place_order(self, user_id: str, basket: Sequence[tuple[str, int]], key: str) -> tuple[Order, bool]:
        """Place an order as `OrderPlacement` does. Raises OVERLOADED too."""
        backlog = (await self._reads.get([_WAITING]))[_WAITING]
        refused = refusal(backlog, user_id, self._clock(), max_age=self._max_age)
        if refused is not None and (not key or await self._known.by_key(user_id, key) is None):
            raise refused
        return await self._placement.place_order(user_id, basket, key)

    async def _read(self, _: Sequence[str]) -> Mapping[str, Backlog]:
        rows = await self._database.rows(_BY_CUSTOMER)
        oldest = min((row.oldest for row in rows), default=None)
        return {_WAITING: Backlog({row.user_id: row.waiting for row in rows}, oldest)}
