"""Parameters and results of the tools: the REST API's rows, cut to what an agent needs, and bounded in size."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

MAX_TEXT = 280

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
Key = Annotated[
    str,
    Field(
        min_length=8,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Chosen by you, new for each order. Repeat it after a lost answer: nothing is ordered twice.",
    ),
]


class NewItem(BaseModel):
    product_id: Identifier
    quantity: int = Field(ge=1, le=1_000)


class Product(BaseModel):
    id: str
    name: str
    description: str = Field(description=f"At most {MAX_TEXT} characters; the resource product://ID has all of it.")
    category: str
    price: str = Field(description="A decimal.")
    currency: str = Field(description="ISO 4217.")


class ProductPage(BaseModel):
    items: list[Product]
    next_cursor: str | None = Field(description="Give it as `cursor` to go on; null at the end.")


class Stock(BaseModel):
    product_id: str
    available: int
    stale: bool = Field(description="The ERP does not answer; this is its last known figure, of `as_of`.")
    as_of: str


class Availability(BaseModel):
    items: list[Stock]


class OrderItem(BaseModel):
    product_id: str
    name: str
    quantity: int
    unit_price: str


class Order(BaseModel):
    id: str
    status: str = Field(description="pending, confirmed, paid, shipped, rejected or cancelled.")
    status_reason: str
    items: list[OrderItem]
    total: str
    currency: str
    placed_at: str = Field(description="RFC 3339, UTC.")


class Event(BaseModel):
    type: str
    time: str = Field(description="RFC 3339, UTC.")


class OrderStatus(BaseModel):
    order: Order
    history: list[Event] = Field(description="Order history, oldest first.")


class Explanation(BaseModel):
    order_id: str
    text: str = Field(description="One line a hop: ms, protocol, from, to, operation, state, duration, bytes.")
    hops: int
    left_out: int = Field(description="Hops that did not fit.")


class Audit(BaseModel):
    verdict: str = Field(description="agreed; disagreed: see findings; unknown: see unread.")
    orders: int
    verdicts: dict[str, int] = Field(description="Number of orders settled, in flight, waiting, different or lost.")
    findings: list[str] = Field(description="Records that are lost, doubled, different, or wait for a person.")
    unread: list[str] = Field(description="Books that could not be read, and why.")


def product(row: dict[str, Any]) -> Product:
    description = row["description"]
    if len(description) > MAX_TEXT:
        description = description[: MAX_TEXT - 1] + "…"
    return Product.model_validate({**row, "description": description})


def order(row: dict[str, Any]) -> Order:
    return Order.model_validate({**row, "status_reason": row["status_reason"] or ""})
