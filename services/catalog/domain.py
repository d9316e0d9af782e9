"""Products, their prices, and quotes of baskets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation

from chassis.currency import from_minor, is_currency, places_of, to_minor
from chassis.errors import Kind, ShopError, invalid

MAX_PRICE = Decimal(1_000_000)
_CATEGORY = re.compile(r"[a-z0-9-]{1,50}")
_LENGTHS = {"name": (1, 200), "description": (0, 5_000), "image_url": (0, 500)}


@dataclass(frozen=True, slots=True)
class Product:
    """Something for sale. `version` grows by one with each change."""

    id: str
    name: str
    description: str
    category: str
    price: Decimal
    currency: str
    image_url: str
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class QuotedItem:
    product_id: str
    name: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    items: Sequence[QuotedItem]
    total: Decimal
    currency: str


def quote(basket: Sequence[tuple[str, int]], products: Mapping[str, Product]) -> Quote:
    """Price a basket of (product id, quantity). Raises INVALID_INPUT, naming each unknown product or bad quantity."""
    problems: dict[str, str] = {}
    for index, (product_id, quantity) in enumerate(basket):
        if product_id not in products:
            problems[f"items[{index}].product_id"] = "no such product"
        if quantity < 1:
            problems[f"items[{index}].quantity"] = "must be at least 1"
    if problems:
        raise invalid("the basket cannot be priced", **problems)
    currencies = {products[product_id].currency for product_id, _ in basket}
    if len(currencies) > 1:
        raise invalid("all items must have one currency", items=f"mixes {', '.join(sorted(currencies))}")
    items = [
        QuotedItem(product_id, products[product_id].name, quantity, products[product_id].price)
        for product_id, quantity in basket
    ]
    currency = currencies.pop()
    total = sum((item.unit_price * item.quantity for item in items), from_minor(0, currency))
    return Quote(items, total, currency)


def price_of(text: str, currency: str) -> Decimal | None:
    """A decimal string as an amount with the currency's places (ISO 4217); None when it is not one, or has more."""
    try:
        amount = Decimal(text)
        if not amount.is_finite() or amount.is_signed() or amount > MAX_PRICE:
            return None
        return from_minor(to_minor(amount, currency), currency)
    except (InvalidOperation, ValueError):
        return None


def changed(product: Product, changes: Mapping[str, str], now: datetime) -> Product:
    """The product after a write of these fields (price as a decimal string). Raises INVALID_INPUT, naming them."""
    currency = changes.get("currency", product.currency)
    problems = {field: why for field, value in changes.items() if (why := _problem(field, value))}
    # A price or a currency that comes alone has to fit what is there.
    price = price_of(changes.get("price", str(product.price)), currency)
    if price is None:
        places = places_of(currency)
        problems["price"] = f"must be a decimal from 0 to {MAX_PRICE} with at most {places} places (ISO 4217)"
    if problems:
        raise invalid("the product cannot be accepted", **problems)
    fields: dict[str, object] = {**changes, "price": price}
    return replace(product, **fields, updated_at=now, version=product.version + 1)  # type: ignore[arg-type]


def _problem(field: str, value: str) -> str:
    if field == "price":
        return ""  # judged with its currency
    if field == "category":
        return "" if _CATEGORY.fullmatch(value) else "must be 1 to 50 of a-z, 0-9 and -"
    if field == "currency":
        return "" if is_currency(value) else "must be the ISO 4217 code of a currency in circulation, such as EUR"
    shortest, longest = _LENGTHS[field]
    return "" if shortest <= len(value.strip()) <= longest else f"must have {shortest} to {longest} characters"


def version_mismatch(product: Product) -> ShopError:
    return ShopError(
        "VERSION_MISMATCH",
        f"product {product.id} has changed meanwhile",
        Kind.PRECONDITION,
        version=str(product.version),
    )
