"""Placing orders while the backlog is short enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from chassis import wall_clock
from services.orders.admission.fair_share import refusal
from services.orders.domain import Order
from services.orders.place_order import OrderPlacement
from services.orders.ports import Catalog, OrderStore, WaitingOrders


class Admission(OrderPlacement):
    """Places orders while the backlog is short enough. A repeat of an accepted order is always answered."""

    def __init__(
        self,
        store: OrderStore,
        catalog: Catalog,
        waiting: WaitingOrders,
        *,
        max_age: timedelta,
        clock: Callable[[], datetime] = wall_clock.now,
    ) -> None:
        super().__init__(store, catalog)
        self._waiting = waiting
        self._max_age = max_age
        self._clock = clock

    async def place_order(self, user_id: str, basket: Sequence[tuple[str, int]], key: str) -> tuple[Order, bool]:
        """Place an order as `OrderPlacement` does. Raises OVERLOADED too."""
        refused = refusal(await self._waiting.backlog(), user_id, self._clock(), max_age=self._max_age)
        if refused is not None and (not key or await self._store.by_key(user_id, key) is None):
            raise refused
        return await super().place_order(user_id, basket, key)
