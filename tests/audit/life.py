"""A whole order's world as fakes: store, queues, inventory, the ERP, the payment provider; and how the audit sees it.

The saga and the order's decisions are the real ones. What they ask may fail before or after its effect, and something
may happen meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from chassis.broker.consumer import NotYet, is_temporary
from chassis.currency import to_minor
from chassis.errors import Kind, ShopError, unavailable
from services.orders import domain
from services.orders.domain import Item, Order, OrderEvent, Outcome, Status
from services.orders.events import payload
from services.orders.ports import OrderStore
from services.orders.saga import Saga
from shop.audit import records
from shop.audit.findings import Finding
from shop.audit.judgement import judge
from tests.audit.orders import around

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MAILED = ("order.confirmed", "order.delayed", "order.rejected", "order.shipped")
QUEUES = {
    "order.placed": "order-processing",
    "order.paid": "order-fulfilment",
    "order.rejected": "order-compensation",
    "order.cancelled": "order-compensation",
    "order.refund_due": "order-compensation",
}


@dataclass
class Life(OrderStore):
    """Of one order. Each of the public verbs is one thing that may happen to it."""

    order: Order
    history: list[records.PastEvent] = field(default_factory=list)  # type: ignore[assignment]
    messages: list[records.Message] = field(default_factory=list)
    reservation: str = ""
    reserved: bool = False
    sale: str = ""
    registered: bool = False
    payment: str = ""
    closed: bool = False
    refunds: int = 0
    # Kind of news, and its state in our store.
    webhooks: dict[str, str] = field(default_factory=dict)
    in_stock: bool = True
    # Before or after its effect: so many calls from now, one fails there; and what happens meanwhile in another.
    failing: tuple[str, int] = ("", 0)
    meanwhile: tuple[Callable[[], None] | None, int] = (None, 0)

    @classmethod
    def begin(cls, number: int, price: Decimal, quantity: int) -> Life:
        """A customer orders."""
        item = Item("42", "Keyboard", quantity, price)
        order, placed = domain.place(
            Order(f"o{number}", "u1", Status.PENDING, "", (item,), price * quantity, "EUR", NOW)
        )
        life = cls(order)
        life.happened(placed)
        return life

    @property
    def payment_id(self) -> str:
        return f"pi_{self.order.id}"

    def decide(self, decision: Callable[[Order], Outcome]) -> Order:
        """One transaction: the decision's new order, and its event in the outbox, which is published."""
        self.order, event = decision(self.order)
        if event is not None:
            self.happened(event)
        return self.order

    def happened(self, event: OrderEvent) -> None:
        number = len(self.history) + 1
        told = json.loads(payload(self.order, event))
        self.history.append(records.PastEvent(f"{self.order.id}-{number}", event.type, number, NOW, told))
        if queue := QUEUES.get(event.type):
            self.messages.append(records.Message(self.order.id, queue, event.type, 1, None))

    async def deliver(self, message: records.Message, *, twice: bool = False) -> None:
        """A worker takes a message; it goes away once it is handled, unless it is delivered again all the same."""
        saga = Saga(self, Inventory(self), Erp(self), Payments(self), clock=lambda: NOW)
        try:
            await saga.steps()[message.queue](self.order.id)
        except (ShopError, NotYet) as error:
            if not is_temporary(error):
                raise
        else:
            if not twice and message in self.messages:
                self.messages.remove(message)

    def cancel(self) -> None:
        """The customer withdraws, if it is not too late."""
        try:
            self.decide(domain.cancel)
        except ShopError as refusal:
            assert refusal.code == "TOO_LATE_TO_CANCEL"  # noqa: PT017 - any other is a failure

    def cancel_and_undo(self) -> None:
        """The customer withdraws, and another worker has undone everything before this one goes on."""
        self.cancel()
        undone = [message for message in self.messages if message.queue == "order-compensation"]
        if undone:
            self.messages.remove(undone[0])
            self.closed, self.sale, self.reservation = True, "cancelled", "released"
            if self.payment == "processing":
                self.payment = "canceled"
            elif self.payment == "succeeded":
                self.payment, self.refunds = "refunded", 1

    def collect(self, *, fails: bool) -> None:
        """The payment provider collects, and sends its webhook."""
        # Also after it was cancelled: the money was on its way.
        if self.payment == "processing" or (self.payment == "canceled" and not fails):
            self.payment = "failed" if fails else "succeeded"
            self.webhooks[f"payment_intent.{'payment_failed' if fails else 'succeeded'}"] = "received"

    def hear(self, kind: str) -> None:
        """Our webhook worker processes the provider's webhook, also once more."""
        decision = domain.mark_paid if kind.endswith("succeeded") else _failed
        try:
            self.decide(lambda order: decision(order, self.payment_id))
        except ShopError as early:
            assert early.code == "ORDER_NOT_CONFIRMED"  # noqa: PT017 - any other is a failure
        else:
            self.webhooks[kind] = "processed"

    def expire(self) -> None:
        """A reservation that was not confirmed runs out, and another order takes the pieces."""
        if self.reservation == "held" and self.order.status is Status.PENDING:
            self.reservation = "expired"

    async def settle(self) -> None:
        """Everything that moves by itself does so, without a fault, until nothing does."""
        self.failing, self.meanwhile = ("", 0), (None, 0)
        for _ in range(50):
            if self.payment == "processing":
                self.collect(fails=False)
            for kind, state in list(self.webhooks.items()):
                if state == "received":
                    self.hear(kind)
            for message in list(self.messages):
                await self.deliver(message)
            if not self.messages and self.payment != "processing" and "received" not in self.webhooks.values():
                return
        raise AssertionError(f"{self.order} does not come to rest: {self.messages}")

    def audit(self) -> list[Finding]:
        """What the audit says of it now."""
        amount = to_minor(self.order.total, self.order.currency)
        items = [records.Item(each.product_id, each.quantity, each.unit_price) for each in self.order.items]
        lines = {each.product_id: each.quantity for each in items} if self.reserved else {}
        sale = records.SalesOrder(self.order.id, self.sale, "", "", [], [])
        if self.registered:
            sale = replace(sale, customer_id="u1", currency="EUR", items=items)
        if self.sale == "shipped":
            sale = replace(sale, shipments=["S-1"])
        refunded = amount * self.refunds
        mails = [
            records.Mail(self.order.id, f"{event.id}@shop.test", event.type.removeprefix("order."), "ann@shop.test")
            for event in self.history
            if event.type in MAILED
        ]
        traces = records.Traces(
            reservations=[records.Reservation(self.order.id, self.reservation, lines)]
            if self.reservation not in ("", "expired")
            else [],
            sales_orders=[sale] if self.sale else [],
            payments=[records.Payment(self.order.id, self.payment_id, self.payment, amount, "eur", refunded)]
            if self.payment
            else [],
            refunds=[
                records.Refund(self.order.id, f"re_{number}", self.payment_id, amount, "eur")
                for number in range(self.refunds)
            ],
            webhooks=[
                records.Webhook(
                    f"w-{kind}", "stripe", kind, NOW, state, "applied" if state == "processed" else "", "", True,
                    self.order.id, self.payment_id, amount, "eur",
                )
                for kind, state in self.webhooks.items()
            ],
            mails=mails,
            messages=[
                *self.messages,
                *(
                    records.Message(f"w-{kind}", "webhook-processing", "webhook.received", 1, None)
                    for kind, state in self.webhooks.items()
                    if state == "received"
                ),
            ],
            email="ann@shop.test",
        )  # fmt: skip
        order = records.Order(
            self.order.id, "u1", self.order.status.value, self.order.status_reason, items, self.order.total, "EUR", NOW,
            self.order.payment_id, self.history, 0,
        )  # fmt: skip
        return judge(order, traces, around(now=NOW))

    def called(self, effect: Callable[[], None]) -> None:
        """A call to another system: what happens meanwhile, a failure before its effect, the effect, a lost answer."""
        happening, calls = self.meanwhile
        self.meanwhile = happening, calls - 1
        if calls == 1 and happening is not None:
            happening()
        where, calls = self.failing
        self.failing = where, calls - 1
        if calls == 1 and where == "before":
            raise unavailable("it")
        effect()
        if calls == 1 and where == "after":
            raise unavailable("it")

    # The saga's store.
    async def get(self, order_id: str) -> Order | None:
        return self.order

    async def change(self, order_id: str, decide: Callable[[Order], Outcome]) -> Order:
        return self.decide(decide)


def _failed(order: Order, payment_id: str) -> Outcome:
    return domain.fail_payment(order, payment_id, "card declined")


def _refuse(code: str) -> None:
    raise ShopError(code, "they will not have it", Kind.PRECONDITION)


@dataclass
class Inventory:
    life: Life

    async def reserve(self, order: Order) -> None:
        def effect() -> None:
            if self.life.reservation == "released":
                _refuse("ORDER_CLOSED")
            if not self.life.in_stock and self.life.reservation != "held":
                _refuse("OUT_OF_STOCK")
            self.life.reservation, self.life.reserved = "held", True

        self.life.called(effect)

    async def confirm(self, order_id: str) -> None:
        def effect() -> None:
            if self.life.reservation != "held":
                _refuse("RESERVATION_EXPIRED" if self.life.reservation == "expired" else "RESERVATION_NOT_HELD")

        self.life.called(effect)

    async def release(self, order_id: str) -> None:
        self.life.called(lambda: setattr(self.life, "reservation", "released"))

    async def ship(self, order_id: str) -> None:
        self.life.called(lambda: setattr(self.life, "reservation", "shipped"))


@dataclass
class Erp:
    life: Life

    async def register(self, order: Order) -> None:
        def effect() -> None:
            if self.life.sale == "cancelled":
                _refuse("ORDER_CLOSED")
            self.life.sale, self.life.registered = "open", True

        self.life.called(effect)

    async def cancel(self, order_id: str) -> None:
        self.life.called(lambda: setattr(self.life, "sale", "cancelled"))

    async def create_shipment(self, order_id: str) -> str:
        self.life.called(lambda: setattr(self.life, "sale", "shipped"))
        return "S-1"


@dataclass
class Payments:
    life: Life

    async def request(self, order: Order) -> str:
        def effect() -> None:
            if self.life.closed:
                _refuse("PAYMENT_REFUSED")
            self.life.payment = self.life.payment or "processing"

        self.life.called(effect)
        return self.life.payment_id

    async def cancel(self, order_id: str) -> None:
        def effect() -> None:
            self.life.closed = True
            if self.life.payment == "processing":
                self.life.payment = "canceled"
            elif self.life.payment == "succeeded":
                self.life.payment, self.life.refunds = "refunded", 1

        self.life.called(effect)
