"""Records of an order in each service and each system outside. Values only: no protocol, no judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an order; `unit_price` in the order's currency."""

    product_id: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One event of an order's history; `sequence` counts 1, 2, 3 …, `data` is its payload."""

    id: str
    type: str
    sequence: int
    time: datetime
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Order:
    """An order by the orders service; the last `unpublished` events of its history are still in the outbox."""

    id: str
    user_id: str
    status: str
    status_reason: str
    items: Sequence[Item]
    total: Decimal
    currency: str
    placed_at: datetime
    payment_id: str
    history: Sequence[PastEvent]
    unpublished: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """Inventory's; `state` is held, shipped or released, `lines` pieces by product."""

    order_id: str
    state: str
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SalesOrder:
    """The ERP's; without customer, currency and items where it was cancelled before it was registered."""

    order_id: str
    state: str
    customer_id: str
    currency: str
    items: Sequence[Item]
    shipments: Sequence[str]


@dataclass(frozen=True, slots=True)
class Payment:
    """The payment provider's; `amount` and `refunded` in minor units, `currency` in lower case."""

    order_id: str
    id: str
    status: str
    amount: int
    currency: str
    refunded: int = 0


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that the payment provider has given back; `amount` in minor units."""

    order_id: str
    id: str
    payment_id: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """News of a payment that the shop has not taken from the payment provider yet, after so many attempts."""

    order_id: str
    id: str
    type: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Webhook:
    """A partner's webhook in our store; the last four fields are a payment's, and are empty for others."""

    id: str
    provider: str
    type: str
    received_at: datetime
    status: str
    outcome: str
    error: str
    published: bool
    order_id: str = ""
    payment_id: str = ""
    amount: int = 0
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as the mail server received it; `to` is the address alone, `recipients` is its envelope's."""

    order_id: str
    message_id: str
    kind: str
    to: str
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter; `subject` is the order's id, or the webhook's. `data`: its event's payload, None for no object."""

    subject: str
    queue: str
    id: str
    type: str
    reason: str
    data: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """An event that waits in a work queue; `until` when it is delayed for a retry."""

    subject: str
    queue: str
    type: str
    attempt: int
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Stock:
    """A product's figures in pieces; `erp_on_hand` is None where the ERP gave no figure."""

    product_id: str
    received: int
    available: int
    reserved: int
    shipped: int
    erp_on_hand: int | None


@dataclass(slots=True)
class Traces:
    """Records of one order outside the orders service (or of a webhook that is about no order)."""

    reservations: list[Reservation] = field(default_factory=list)
    sales_orders: list[SalesOrder] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    payment_events: list[PaymentEvent] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    # The customer's mail address; None where there is no such account.
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """`exact`: every message of it was read. Else `visible` is how many are known of; `counted`: these are all.

    What is not counted may also be held by a consumer, and a count may be some seconds old.
    """

    exact: bool
    visible: int
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Limits of a judgement: books that could not be read (name -> why), what was deleted on purpose, the queues."""

    now: datetime
    unread: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, Queue] = field(default_factory=dict)
    mails_forgotten_until: datetime | None = None
    webhooks_complete_since: datetime | None = None
