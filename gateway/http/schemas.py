"""Request and response schemas of the REST surface, for validation and OpenAPI."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Item = TypeVar("Item")

IDENTIFIER = r"^[A-Za-z0-9._~-]{1,64}$"
# A day such as 2026-01-31.
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
# No NUL: PostgreSQL's text cannot hold it.
_TEXT = r"^[^\x00]*$"

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
IdInPath = Annotated[str, Path(pattern=IDENTIFIER, examples=["42"], description="An opaque id.")]
Money = Annotated[str, Field(pattern=r"^[0-9]{1,15}(\.[0-9]{2,3})?$", examples=["49.00"], description="A decimal.")]
Price = Annotated[
    str,
    Field(
        pattern=r"^([0-9]{1,6}(\.[0-9]{1,3})?|1000000(\.0{1,3})?)$",
        examples=["49.00"],
        description="A decimal, at most 1000000, with at most the decimal places of its currency (ISO 4217).",
    ),
]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"], description="ISO 4217.")]
Category = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,50}$", examples=["books"])]
# Not blank.
_WORDS = r"^\s*[^\s\x00][^\x00]*$"
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_WORDS)]
Description = Annotated[str, Field(max_length=5_000, pattern=_TEXT)]
ImageUrl = Annotated[str, Field(max_length=500, pattern=_TEXT)]


def _example(**values: object) -> dict[str, Any]:
    return {"examples": [values]}


class Write(BaseModel):
    """The base of request schemas: no unknown field, and no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


_PRODUCT = {
    "name": "Mechanical keyboard",
    "description": "87 keys, brown switches",
    "category": "hardware",
    "price": "89.00",
    "currency": "EUR",
    "image_url": "/v1/files/keyboard",
}
_USER = {"name": "Ada Lovelace", "email": "ada@example.com"}
_TOKEN = {"access_token": "eyJ…", "token_type": "Bearer", "expires_in": 900}  # nosec B105 # an example
_UPDATED = "2026-01-05T09:00:00Z"


class ProductWrite(Write):
    """A whole product, as an admin writes it."""

    model_config = ConfigDict(json_schema_extra=_example(**_PRODUCT))

    name: Name
    description: Description = ""
    category: Category
    price: Price
    currency: Currency
    image_url: ImageUrl = ""


class ProductPatch(Write):
    """The fields of a product to change; the others keep their values (RFC 7396)."""

    model_config = ConfigDict(json_schema_extra=_example(price="79.00"))

    # A default that no document shows and no client sends: absent is not null.
    name: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    category: Category = Field(default_factory=str)
    price: Price = Field(default_factory=str)
    currency: Currency = Field(default_factory=str)
    image_url: ImageUrl = Field(default_factory=str)


class NewItem(Write):
    product_id: Identifier = Field(examples=["42"])
    quantity: int = Field(ge=1, le=1_000, examples=[1])


class NewOrder(Write):
    model_config = ConfigDict(json_schema_extra=_example(items=[{"product_id": "42", "quantity": 1}]))

    items: list[NewItem] = Field(min_length=1, max_length=50)


class Registration(Write):
    model_config = ConfigDict(json_schema_extra=_example(**_USER, password="correct horse"))  # noqa: S106  # nosec B106 # an example

    name: str = Field(min_length=1, max_length=100, pattern=_WORDS)
    # A pattern cannot decide whether mail can reach it: users does.
    email: str = Field(max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$", json_schema_extra={"format": "email"})
    password: str = Field(min_length=8, max_length=128, pattern=_TEXT)


class PasswordGrant(BaseModel):
    """OAuth 2's password grant (RFC 6749, section 4.3); `username` is the email. What else a client adds is ignored."""

    model_config = ConfigDict(json_schema_extra=_example(username="demo@shop.test", password="demo"))  # noqa: S106  # nosec B106 # public

    grant_type: Literal["password"] = "password"
    username: str = Field(max_length=254, pattern=_TEXT)
    password: str = Field(max_length=128, pattern=_TEXT)


class Token(BaseModel):
    model_config = ConfigDict(json_schema_extra=_example(**_TOKEN))

    access_token: str = Field(description="A JWT (RFC 7519).")
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds.")


class User(BaseModel):
    model_config = ConfigDict(json_schema_extra=_example(id="123", **_USER, role="customer"))

    id: str
    name: str
    email: str
    role: Literal["customer", "admin"]


class Product(BaseModel):
    model_config = ConfigDict(json_schema_extra=_example(id="42", **_PRODUCT, updated_at=_UPDATED))

    id: str
    name: str
    description: str
    category: str
    price: Money
    currency: Currency
    image_url: str
    updated_at: datetime


class Availability(BaseModel):
    model_config = ConfigDict(json_schema_extra=_example(product_id="42", available=17, stale=False, as_of=_UPDATED))

    product_id: str
    available: int
    stale: bool = Field(description="True while the ERP does not answer: then this is the last known figure.")
    as_of: datetime = Field(description="Time of the figure.")


class OrderItem(BaseModel):
    product_id: str
    name: str
    quantity: int
    unit_price: Money


_ORDER = {
    "id": "123",
    "user_id": "123",
    "status": "pending",
    "status_reason": None,
    "items": [{"product_id": "42", "name": "Mechanical keyboard", "quantity": 1, "unit_price": "89.00"}],
    "total": "89.00",
    "currency": "EUR",
    "placed_at": _UPDATED,
}


class Order(BaseModel):
    model_config = ConfigDict(json_schema_extra=_example(**_ORDER))

    id: str
    user_id: str
    status: Literal["pending", "confirmed", "paid", "shipped", "rejected", "cancelled"]
    status_reason: str | None = Field(description="Reason of the rejection, the cancellation or the delay.")
    items: list[OrderItem]
    total: Money
    currency: Currency
    placed_at: datetime


class OrderEvent(BaseModel):
    id: str
    type: str = Field(examples=["order.placed"])
    sequence: int = Field(description="1, 2, 3 … without gaps within one order.")
    time: datetime
    data: dict[str, Any]


class OrderHistory(BaseModel):
    items: list[OrderEvent]


class File(BaseModel):
    model_config = ConfigDict(
        json_schema_extra=_example(id="f3a1", size=1024, sha256="9f86d081…", content_type="image/png")
    )

    id: str
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Lower-case hexadecimal.")
    content_type: str


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next_cursor: str | None


class UserPage(Page[User]): ...


class ProductPage(Page[Product]): ...


class AvailabilityPage(Page[Availability]): ...


class OrderPage(Page[Order]): ...


class Sales(BaseModel):
    """Orders that were paid on some day, had some product, or were some customer's, in one currency."""

    model_config = ConfigDict(
        json_schema_extra=_example(key="2026-01-05", name=None, currency="EUR", orders=3, quantity=5, revenue="245.00")
    )

    key: str = Field(description="The day, the product's id or the customer's.")
    name: str | None = Field(description="Name of the product at the time of the order.")
    currency: Currency
    orders: int = Field(description="Number of orders; of a product, the orders that contain it.")
    quantity: int = Field(description="Pieces.")
    revenue: Money


class SalesReport(BaseModel):
    """Sales, counted from the event log."""

    by: Literal["day", "product", "customer"]
    # What `from` and `to` are called in Python.
    first_day: date = Field(alias="from")
    last_day: date = Field(alias="to")
    since: datetime | None = Field(description="The oldest event that was read: sales before it are not counted.")
    as_of: datetime | None = Field(description="The newest event that was read.")
    gap_at: datetime | None = Field(description="Time at which missing events were last noticed; null if never.")
    unknown_orders: int = Field(description="Number of paid orders that are not counted: the log lacks their items.")
    items: list[Sales] = Field(description="Days in their order, else the highest revenue of each currency first.")
    next_cursor: str | None


class FieldProblem(BaseModel):
    field: str = Field(examples=["items[0].quantity"])
    detail: str


class Problem(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra=_example(
            type="https://shop.test/problems/not-found",
            title="Not Found",
            status=404,
            detail="no product with the id '4711'",
            code="NOT_FOUND",
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        )
    )

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable and machine-readable.")
    trace_id: str
    errors: list[FieldProblem] | None = Field(default=None, description="Invalid fields, with reasons, of a 422.")
