"""The mails and their texts. No framework, no database, no wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class News:
    """An order's event. `kind` is confirmed, delayed, rejected or shipped; `facts` has the values for the text."""

    event_id: str
    kind: str
    order_id: str
    user_id: str
    happened_at: datetime
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Customer:
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail. The same event always makes the same one, so that a repeat can be recognized by `message_id`."""

    message_id: str
    kind: str
    order_id: str
    recipient: Customer
    subject: str
    text: str
    written_at: datetime


# Kind -> subject and text.
_WORDS = {
    "confirmed": (
        "Your order {order_id} is confirmed",
        "thank you for your order {order_id}. All of it is reserved.\nWe ship it once {total} {currency} are paid.",
    ),
    # The customer's order costs nothing, so that there is no payment to wait for.
    "confirmed_free": (
        "Your order {order_id} is confirmed",
        "thank you for your order {order_id}. All of it is reserved.\nThere is nothing to pay. We ship it soon.",
    ),
    "delayed": (
        "Your order {order_id} is delayed",
        "your order {order_id} takes longer than usual. We go on trying; until it is confirmed, you may cancel it.",
    ),
    "rejected": (
        "We could not accept your order {order_id}",
        "we are sorry: we could not accept your order {order_id}.\nThe reason: {reason}\n\nNothing was charged.",
    ),
    "shipped": (
        "Your order {order_id} is on its way",
        "your order {order_id} has left our warehouse. Its shipment number is {shipment_number}.",
    ),
}


def render(news: News, customer: Customer) -> Mail:
    """The mail about an order's news. Raises `KeyError` for a kind that no mail is written about."""
    total = news.facts.get("total", "")
    # With its currency's places: 0.00 EUR, 0 JPY, 0.000 KWD.
    free = news.kind == "confirmed" and bool(total) and not total.strip("0.")
    subject, text = _WORDS["confirmed_free" if free else news.kind]
    facts = {"order_id": news.order_id, **news.facts}
    # A name may hold anything; in a header a line break would begin the next header.
    name = " ".join(customer.name.split())
    return Mail(
        message_id=f"<{news.event_id}@shop.test>",
        kind=news.kind,
        order_id=news.order_id,
        recipient=Customer(name, customer.email),
        subject=subject.format_map(facts),
        text=f"Hello {name},\n\n{text.format_map(facts)}\n\nYour Polyglot Shop\n",
        written_at=news.happened_at,
    )
