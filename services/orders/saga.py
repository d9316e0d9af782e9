"""The order saga: repeatable steps after an order is accepted, and their compensations.

Orchestrated here, driven by the queues: each step is idempotent at the other side (by the order's id), so if a worker
dies midway, another repeats all steps and nothing takes effect twice. The order's own row decides at the end; a step
that finds it rejected or cancelled undoes whatever may have been done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from chassis import wall_clock
from chassis.broker.consumer import NotYet
from chassis.errors import Kind, ShopError
from services.orders import domain
from services.orders.domain import Order, Status
from services.orders.ports import Erp, Inventory, OrderStore, Payments

# Takes an order's id. The queue acknowledges the event once the step has returned.
Step = Callable[[str], Awaitable[None]]

_REFUSALS = (Kind.PRECONDITION, Kind.INVALID, Kind.NOT_FOUND)


class Saga:
    def __init__(
        self,
        store: OrderStore,
        inventory: Inventory,
        erp: Erp,
        payments: Payments,
        *,
        delayed_after: timedelta = timedelta(minutes=1),
        clock: Callable[[], datetime] = wall_clock.now,
    ) -> None:
        """`delayed_after`: the time for which an order may be pending before the customer is notified of the delay."""
        self._store = store
        self._inventory = inventory
        self._erp = erp
        self._payments = payments
        self._delayed_after = delayed_after
        self._clock = clock

    def steps(self) -> dict[str, Step]:
        """Each work queue and the step that handles its events."""
        return {
            "order-processing": self.process,
            "order-fulfilment": self.fulfil,
            "order-compensation": self.compensate,
        }

    async def process(self, order_id: str) -> None:
        """Process `order.placed`: reserve, register, request the payment, confirm; or reject."""
        order = await self._get(order_id)
        if order.status is Status.PENDING:
            try:
                payment_id = await self._arrange(order)
            except ShopError as refusal:
                if refusal.kind not in _REFUSALS:
                    await self._delay(order_id)
                    raise  # a failure, not a refusal: the queue redelivers the event
                order = await self._reject(order, refusal)
                if order.status is Status.REJECTED:
                    return  # its event triggers the compensation
            except Exception:
                await self._delay(order_id)  # the first attempt was made: the order no longer waits for its turn
                raise
            else:
                order = await self._store.change(order_id, lambda current: domain.confirm(current, payment_id))
        if order.status is Status.CONFIRMED and not order.total:
            order = await self._store.change(order_id, lambda it: domain.mark_paid(it, domain.NOTHING_TO_PAY))
        if order.status.undone:
            # Cancelled during these steps, or by the time a worker took over: compensation may have run too early.
            await self.compensate(order_id)

    async def _arrange(self, order: Order) -> str:
        """All that confirming takes, each step idempotent by the order's id. Returns the payment's reference."""
        await self._inventory.reserve(order)
        await self._erp.register(order)
        payment_id = await self._payments.request(order) if order.total else domain.NOTHING_TO_PAY
        # Last: until here the reservation may expire; from here on it may not, for a confirmed order can be paid.
        try:
            await self._inventory.confirm(order.id)
        except ShopError as refusal:
            if refusal.code == "RESERVATION_EXPIRED":
                raise NotYet(str(refusal)) from refusal  # the next try reserves anew, if there is stock
            raise
        return payment_id

    async def _delay(self, order_id: str) -> None:
        now = self._clock()
        await self._store.change(order_id, lambda current: domain.delay(current, now, after=self._delayed_after))

    async def _reject(self, order: Order, refusal: ShopError) -> Order:
        return await self._store.change(order.id, lambda current: domain.reject(current, refusal.message))

    async def fulfil(self, order_id: str) -> None:
        """Process `order.paid`: the ERP ships, the reservation becomes a shipment, the order is shipped."""
        order = await self._get(order_id)
        if order.status is not Status.PAID:
            return
        shipment_number = await self._erp.create_shipment(order_id)
        await self._inventory.ship(order_id)
        await self._store.change(order_id, lambda current: domain.ship(current, shipment_number))

    async def compensate(self, order_id: str) -> None:
        """Undo an order that has ended without a sale, last step first; what was never done is skipped.

        After `order.rejected`, `order.cancelled`, and `order.refund_due`: a payment that arrived after everything was
        undone.
        """
        await self._payments.cancel(order_id)
        await self._erp.cancel(order_id)
        await self._inventory.release(order_id)

    async def _get(self, order_id: str) -> Order:
        order = await self._store.get(order_id)
        if order is None:
            message = f"order {order_id} has an event but no row"
            raise LookupError(message)
        return order
