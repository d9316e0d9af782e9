"""What a product is, what it costs, and what a basket comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Kind, ShopError, timed_out, unavailable
from services.catalog.demo import demo_products
from services.catalog.domain import MAX_PRICE, Product, QuotedItem, changed, price_of, quote, version_mismatch
from services.catalog.ports import ProductStore
from services.catalog.use_cases import Catalog

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEYBOARD = Product("42", "Keyboard", "Keys", "hardware", Decimal("89.00"), "EUR", "/x", NOW, 1)
COURSE = replace(KEYBOARD, id="123", name="Course", price=Decimal("49.95"))
PRODUCTS = {product.id: product for product in (KEYBOARD, COURSE)}
DRAFT = {"name": "Lamp", "category": "hardware", "price": "39.50", "currency": "EUR"}


class FakeStore:
    """Fake: products in memory; of the port it has what quoting and creating use."""

    def __init__(self) -> None:
        self.products = dict(PRODUCTS)

    async def by_ids(self, ids: Sequence[str]) -> dict[str, Product]:
        return {product_id: self.products[product_id] for product_id in ids if product_id in self.products}

    async def add(self, product: Product) -> None:
        self.products[product.id] = product

    async def change_once(self, event_id: str, product_id: str, change: Callable[[Product], Product]) -> Product:
        self.products[product_id] = change(self.products[product_id])
        return self.products[product_id]


class FakeInventory:
    def __init__(self, answer: Mapping[str, int] | ShopError) -> None:
        self.answer = answer

    async def available(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        if isinstance(self.answer, ShopError):
            raise self.answer
        return self.answer


def catalog(answer: Mapping[str, int] | ShopError) -> Catalog:
    return Catalog(cast("ProductStore", FakeStore()), FakeInventory(answer))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("49", "49.00"),
        ("49.5", "49.50"),
        ("49.50", "49.50"),
        ("0", "0.00"),
        ("0.01", "0.01"),
        ("1000000", "1000000.00"),
    ],
)
def test_price_is_a_decimal_with_two_places(text: str, amount: str) -> None:
    """Every way to write an amount in cents comes to the same form."""
    assert str(price_of(text, "EUR")) == amount


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "-0", "0.001", "1000000.01", "NaN", "Infinity", "-Infinity", "sNaN", "1e99", "1,5"]
)
def test_no_price(text: str) -> None:
    """What is no amount, negative, finer than a cent, or too much is no price."""
    assert price_of(text, "EUR") is None


@pytest.mark.parametrize(
    ("currency", "accepted", "refused"),
    [("JPY", "500", "500.50"), ("EUR", "5.25", "5.255"), ("KWD", "5.255", "5.2555"), ("ISK", "500.0", "500.1")],
)
def test_a_price_has_the_places_of_its_currency(currency: str, accepted: str, refused: str) -> None:
    """ISO 4217 says how fine an amount can be; a currency that is changed alone is held to it too."""
    assert changed(KEYBOARD, {"price": accepted, "currency": currency}, KEYBOARD.updated_at).currency == currency
    with pytest.raises(ShopError) as wrong:
        changed(KEYBOARD, {"price": refused, "currency": currency}, KEYBOARD.updated_at)
    assert "price" in wrong.value.fields
    priced = changed(KEYBOARD, {"price": "5.25"}, KEYBOARD.updated_at)
    with pytest.raises(ShopError) as unfit:
        changed(priced, {"currency": "JPY"}, KEYBOARD.updated_at)
    assert "price" in unfit.value.fields


def test_a_total_has_the_places_of_its_currency() -> None:
    """Three times 500 JPY are 1500 JPY, without a decimal point."""
    yen = replace(KEYBOARD, id="jpy", currency="JPY", price=Decimal(500))
    assert str(quote([("jpy", 3)], {"jpy": yen}).total) == "1500"


@given(st.text(max_size=20) | st.decimals().map(str) | st.floats().map(str))
def test_every_price_is_in_bounds_and_written_back_the_same(text: str) -> None:
    """Whatever is written, a price is from 0 to the limit, in whole cents, and is read back as itself."""
    amount = price_of(text, "EUR")
    if amount is not None:
        assert 0 <= amount <= MAX_PRICE
        assert amount == Decimal(int(amount * 100)).scaleb(-2)
        assert not amount.is_signed()
        assert price_of(str(amount), "EUR") == amount


@given(st.lists(st.tuples(st.sampled_from(sorted(PRODUCTS)), st.integers(1, 1_000)), min_size=1, max_size=50))
def test_quote_adds_up_to_the_cent(basket: list[tuple[str, int]]) -> None:
    """A basket's total is the sum of its items, exactly, with two places, and the items stand in the basket's order."""
    found = quote(basket, PRODUCTS)
    assert [(item.product_id, item.quantity) for item in found.items] == basket
    assert found.total == sum(PRODUCTS[product_id].price * quantity for product_id, quantity in basket)
    assert found.total.as_tuple().exponent == -2


def test_quote_names_every_unknown_product() -> None:
    """A basket is refused once, naming the place of every product that does not exist."""
    with pytest.raises(ShopError) as refusal:
        quote([("42", 1), ("x", 1), ("123", 1), ("y", 1)], PRODUCTS)
    assert refusal.value.message == "the basket cannot be priced"
    assert refusal.value.fields == dict.fromkeys(["items[1].product_id", "items[3].product_id"], "no such product")


def test_quote_names_every_wrong_quantity() -> None:
    """Each place says what it must be."""
    with pytest.raises(ShopError) as refusal:
        quote([("42", 1), ("123", 0)], PRODUCTS)
    assert refusal.value.fields == {"items[1].quantity": "must be at least 1"}


def test_quote_says_what_each_item_was_called_and_cost() -> None:
    """And the sum, with the currency's places."""
    quoted = quote([("42", 2), ("123", 1)], PRODUCTS)
    assert quoted.items == [
        QuotedItem("42", "Keyboard", 2, Decimal("89.00")),
        QuotedItem("123", "Course", 1, Decimal("49.95")),
    ]
    assert (str(quoted.total), quoted.currency) == ("227.95", "EUR")


def test_quote_has_one_currency() -> None:
    """A basket that mixes currencies has no total."""
    with pytest.raises(ShopError) as refusal:
        quote([("usd", 1), ("42", 1)], {**PRODUCTS, "usd": replace(KEYBOARD, id="usd", currency="USD")})
    assert refusal.value.message == "all items must have one currency"
    assert refusal.value.fields == {"items": "mixes EUR, USD"}


@pytest.mark.parametrize("basket", [[], [("42", 0)], [("42", -1)], [("42", 1)] * 101])
async def test_quote_of_a_senseless_basket(basket: list[tuple[str, int]]) -> None:
    """An empty or endless basket, or one with less than one of something, is bad input."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        await catalog({}).quote(basket)


@pytest.mark.parametrize(
    "failure",
    [
        unavailable("inventory"),
        timed_out("inventory"),
        ShopError("OVERLOADED", "too many calls: try again later", Kind.EXHAUSTED),
    ],
)
async def test_quote_without_inventory(failure: ShopError) -> None:
    """While inventory does not answer a basket is priced all the same, without availability."""
    quoted, available = await catalog(failure).quote([("42", 2)])
    assert (quoted.total, available) == (Decimal("178.00"), {})


async def test_inventorys_refusal_is_not_taken_for_silence() -> None:
    """An inventory that answers with an error of another kind is not ignored."""
    with pytest.raises(ShopError, match="WRONG"):
        await catalog(ShopError("WRONG", "", Kind.INTERNAL)).quote([("42", 1)])


def test_change_raises_the_version_and_leaves_the_rest() -> None:
    """A write changes what it names, the version and the moment; nothing else."""
    later = NOW + timedelta(hours=1)
    after = changed(KEYBOARD, {"price": "95", "name": "Keyboard II"}, later)
    assert after == replace(KEYBOARD, price=Decimal("95.00"), name="Keyboard II", version=2, updated_at=later)


def test_a_price_keeps_the_places_of_the_products_own_currency() -> None:
    """Where a write names no other one; and where it names no price, the product's own has to fit."""
    yen = replace(KEYBOARD, price=Decimal(8_900), currency="JPY")
    assert str(changed(yen, {"price": "90"}, NOW).price) == "90"
    assert str(changed(yen, {"name": "Keyboard II"}, NOW).price) == "8900"
    with pytest.raises(ShopError) as refusal:
        changed(replace(KEYBOARD, price=Decimal("89.50")), {"currency": "JPY"}, NOW)
    assert refusal.value.message == "the product cannot be accepted"
    why = "must be a decimal from 0 to 1000000 with at most 0 places (ISO 4217)"
    assert refusal.value.fields == {"price": why}


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("price", "-1", "must be a decimal from 0 to 1000000 with at most 2 places (ISO 4217)"),
        ("category", "Hard Ware", "must be 1 to 50 of a-z, 0-9 and -"),
        ("currency", "EURO", "must be the ISO 4217 code of a currency in circulation, such as EUR"),
        ("name", "", "must have 1 to 200 characters"),
    ],
)
def test_a_wrong_field_says_what_it_must_be(field: str, value: str, why: str) -> None:
    """In words that a client can show."""
    with pytest.raises(ShopError) as refusal:
        changed(KEYBOARD, {field: value}, NOW)
    assert refusal.value.fields == {field: why}


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "x"), ("name", "x" * 200), ("description", ""), ("description", "x" * 5_000), ("image_url", "x" * 500)],
)
def test_texts_may_be_as_short_and_as_long_as_their_bounds(field: str, value: str) -> None:
    """Both bounds are included."""
    assert getattr(changed(KEYBOARD, {field: value}, NOW), field) == value


def test_a_stale_version_names_the_one_that_is_there() -> None:
    """So that a client can read again and decide."""
    error = version_mismatch(replace(KEYBOARD, version=7))
    assert (error.code, error.kind, error.details) == ("VERSION_MISMATCH", Kind.PRECONDITION, {"version": "7"})
    assert error.message == "product 42 has changed meanwhile"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "   "), ("name", "x" * 201), ("description", "x" * 5_001), ("image_url", "x" * 501),
        ("category", "Hard Ware"), ("category", ""), ("currency", "eur"), ("currency", "EURO"),
        ("currency", "ZZZ"), ("currency", "XXX"), ("price", "-1"),
    ],
)  # fmt: skip
def test_wrong_field_is_named(field: str, value: str) -> None:
    """A write is refused naming what is wrong, whatever else is right."""
    with pytest.raises(ShopError) as refusal:
        changed(KEYBOARD, DRAFT | {field: value}, NOW)
    assert (refusal.value.code, list(refusal.value.fields)) == ("INVALID_INPUT", [field])


@pytest.mark.parametrize("field", sorted(DRAFT))
async def test_new_product_needs_its_fields(field: str) -> None:
    """A product without name, category, price or currency is refused, naming what is missing."""
    draft = {name: value for name, value in DRAFT.items() if name != field}
    with pytest.raises(ShopError) as refusal:
        await catalog({}).create(draft)
    assert list(refusal.value.fields) == [field]


async def test_new_product_is_version_one() -> None:
    """A product begins with version 1 and an id of its own."""
    first, second = await catalog({}).create(DRAFT), await catalog({}).create(DRAFT)
    assert (first.version, first.price) == (1, Decimal("39.50"))
    assert first.id != second.id


def test_demo_products_are_acceptable() -> None:
    """Every demo product would be accepted if an admin wrote it."""
    for product in demo_products():
        fields = {
            "name": product.name,
            "description": product.description,
            "category": product.category,
            "price": str(product.price),
            "currency": product.currency,
        }
        assert changed(product, fields, NOW).price == product.price


@pytest.mark.parametrize(("received", "stands"), [(-1, 0), (1, 1)])
async def test_an_old_push_that_is_handled_late_makes_no_product_older(received: int, stands: int) -> None:
    """The version grows with each push, and the moment of the last change never goes back."""
    hour = timedelta(hours=1)
    found = await catalog({}).refresh_material("42", "event", NOW + received * hour)
    assert (found.version, found.updated_at) == (2, NOW + stands * hour)
