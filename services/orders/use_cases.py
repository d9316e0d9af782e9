"""Reading, cancelling and watching orders, and recording what partners report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from chassis.auth.identity import Principal
from chassis.errors import not_found
from chassis.pagination import Place
from services.orders import domain
from services.orders.domain import Order
from services.orders.ports import HistoryEntry, OrderStore, OrderWatch, Record

_FINAL_EVENTS = ("order.rejected", "order.cancelled", "order.delivered")


class Orders:
    def __init__(self, store: OrderStore, order_watch: OrderWatch) -> None:
        self._store = store
        self._order_watch = order_watch

    async def get(self, order_id: str, caller: Principal) -> Order:
        """Raises NOT_FOUND, also for another customer's order: its existence is not disclosed."""
        order = await self._store.get(order_id)
        if order is None or not _may_see(caller, order.user_id):
            raise not_found("order", order_id)
        return order

    async def several(self, order_ids: Sequence[str], caller: Principal) -> list[Order]:
        """The orders that the caller may see, each once, in the order of the ids."""
        found = {order.id: order for order in await self._store.by_ids(order_ids) if _may_see(caller, order.user_id)}
        return [found[order_id] for order_id in dict.fromkeys(order_ids) if order_id in found]

    async def page(
        self, user_id: str, caller: Principal, *, before: Place | None, size: int
    ) -> tuple[list[Order], Place | None]:
        """One page of a user's orders, newest first, and where the next one begins (None after the last)."""
        if not _may_see(caller, user_id):
            raise not_found("user", user_id)
        orders = await self._store.page(user_id, before=before, size=size + 1)
        last = orders[size - 1] if len(orders) > size else None
        return orders[:size], (last.placed_at, last.id) if last else None

    async def newest_of(self, user_ids: Sequence[str], caller: Principal, *, each: int) -> list[Order]:
        """The newest orders of several users; those of users whom the caller may not see are left out."""
        visible = [user_id for user_id in dict.fromkeys(user_ids) if _may_see(caller, user_id)]
        return await self._store.newest_of(visible, each=each) if visible else []

    async def cancel(self, order_id: str, caller: Principal) -> Order:
        """Raises NOT_FOUND or TOO_LATE_TO_CANCEL."""
        await self.get(order_id, caller)
        return await self._store.change(order_id, domain.cancel)

    async def history(self, order_id: str, caller: Principal) -> list[HistoryEntry]:
        await self.get(order_id, caller)
        return await self._store.history(order_id)

    async def watch(self, order_id: str, caller: Principal, *, after: int) -> AsyncIterator[HistoryEntry]:
        """The history after a sequence, then each new entry, up to a rejection, cancellation or delivery.

        A payment that arrives for a cancelled order is refunded: that is in the history, but no watch waits for it.
        """
        await self.get(order_id, caller)
        ended = False
        async for _ in self._order_watch.watch(order_id):
            for entry in await self._store.history(order_id):
                if entry.sequence > after:
                    after = entry.sequence
                    yield entry
                ended = ended or entry.type in _FINAL_EVENTS
            if ended:
                return  # also when the caller has seen it already

    async def mark_paid(self, order_id: str, payment_id: str) -> Order:
        return await self._store.change(order_id, lambda order: domain.mark_paid(order, payment_id))

    async def mark_payment_failed(self, order_id: str, payment_id: str, reason: str) -> Order:
        return await self._store.change(order_id, lambda order: domain.fail_payment(order, payment_id, reason))

    async def record_delivery(self, order_id: str, carrier: str, delivered_at: datetime) -> Order:
        return await self._store.change(order_id, lambda order: domain.deliver(order, carrier, delivered_at))

    async def records(self, *, after: Place | None, size: int) -> list[Record]:
        return await self._store.records(after=after, size=size)


def _may_see(caller: Principal, user_id: str) -> bool:
    return caller.is_admin or caller.is_service() or caller.subject == user_id
