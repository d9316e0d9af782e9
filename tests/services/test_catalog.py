"""shop.catalog.v1, served: public to read, an admin's to write, and able to quote without inventory."""

from __future__ import annotations

import pytest

from protos.shop.catalog.v1 import catalog_pb2 as pb
from services.catalog.demo import PRODUCTS
from tests.services.conftest import Service

DRAFT = pb.ProductDraft(name="Lamp", category="hardware", price="39.5", currency="EUR")
BASKET = pb.QuoteItemsRequest(
    items=[pb.QuoteItem(product_id="42", quantity=2), pb.QuoteItem(product_id="123", quantity=1)]
)


async def test_products_are_public(catalog_service: Service) -> None:
    """Any caller reads products, in the requested order and once each, unknown ones left out."""
    found = await catalog_service.as_().call("GetProducts", pb.GetProductsRequest(ids=["123", "x", "42", "123"]))
    assert [(product.id, product.price) for product in found.products] == [("123", "49.00"), ("42", "89.00")]


async def test_pages_hold_every_product_once(catalog_service: Service) -> None:
    """Following the cursor sees each product once, and the last page says that it is the last."""
    seen: list[str] = []
    cursor = ""
    while True:
        page = await catalog_service.as_().call("ListProducts", pb.ListProductsRequest(page_size=7, cursor=cursor))
        seen += [product.id for product in page.products]
        cursor = page.next_cursor
        if not cursor:
            break
    assert len(seen) == len(PRODUCTS)
    assert set(seen) == {row[0] for row in PRODUCTS}


@pytest.mark.parametrize("caller", [("", ""), ("u1", "customer"), ("webhooks", "service")])
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CreateProduct", pb.CreateProductRequest(draft=DRAFT)),
        ("UpdateProduct", pb.UpdateProductRequest(id="42", draft=DRAFT)),
        ("DeleteProduct", pb.DeleteProductRequest(id="42")),
    ],
)
async def test_only_an_admin_writes(
    catalog_service: Service, caller: tuple[str, str], method: str, request_: object
) -> None:
    """Only an admin creates, changes or deletes a product."""
    refusal = await catalog_service.as_(*caller).refusal(method, request_)
    assert refusal.code == ("FORBIDDEN" if caller[0] else "UNAUTHENTICATED")
    found = await catalog_service.as_().call("GetProducts", pb.GetProductsRequest(ids=["42"]))
    assert (found.products[0].version, found.products[0].name) == (1, "Mechanical Keyboard")


async def test_product_from_its_beginning_to_its_end(catalog_service: Service) -> None:
    """An admin creates a product, changes one field, and deletes it; each version is one higher, then it is gone."""
    admin = catalog_service.admin
    product = (await admin.call("CreateProduct", pb.CreateProductRequest(draft=DRAFT))).product
    assert (product.version, product.price) == (1, "39.50")
    change = pb.UpdateProductRequest(id=product.id, draft=pb.ProductDraft(price="35"), if_version=1)
    changed = (await admin.call("UpdateProduct", change)).product
    assert (changed.version, changed.price, changed.name) == (2, "35.00", "Lamp")
    await admin.call("DeleteProduct", pb.DeleteProductRequest(id=product.id, if_version=2))
    assert not (await admin.call("GetProducts", pb.GetProductsRequest(ids=[product.id]))).products
    assert (await admin.refusal("UpdateProduct", change)).code == "NOT_FOUND"


async def test_seen_version_has_to_be_the_present_one(catalog_service: Service) -> None:
    """A write for a version that is no longer there is refused, telling which one is."""
    draft = pb.ProductDraft(price="1")
    await catalog_service.admin.call("UpdateProduct", pb.UpdateProductRequest(id="42", draft=draft))
    for method, request in (
        ("UpdateProduct", pb.UpdateProductRequest(id="42", draft=draft, if_version=1)),
        ("DeleteProduct", pb.DeleteProductRequest(id="42", if_version=1)),
    ):
        refusal = await catalog_service.admin.refusal(method, request)
        assert (refusal.code, refusal.details) == ("VERSION_MISMATCH", {"version": "2"})


async def test_material_is_refreshed_once(catalog_service: Service) -> None:
    """A push that is reported twice refreshes a product once."""
    request = pb.RefreshMaterialRequest(product_id="123", event_id="push-1")
    request.refreshed_at.FromJsonString("2026-03-01T12:00:00Z")
    webhooks = catalog_service.process("webhook_worker")
    versions = [(await webhooks.call("RefreshMaterial", request)).product.version for _ in range(2)]
    assert versions == [2, 2]


async def test_quote_has_prices_and_availability(catalog_service: Service) -> None:
    """A basket is priced in its own order, with what inventory could deliver."""
    quoted = await catalog_service.as_("u1").call("QuoteItems", BASKET)
    assert (quoted.total, quoted.currency) == ("227.00", "EUR")
    assert [(item.name, item.unit_price, item.available) for item in quoted.items] == [
        ("Mechanical Keyboard", "89.00", 5), ("Software Architecture", "49.00", 5),
    ]  # fmt: skip


async def test_quote_without_inventory_says_nothing_of_availability(catalog_service: Service) -> None:
    """While inventory is away a basket is priced all the same, and availability is absent, not zero."""
    catalog_service.fakes.away = True
    quoted = await catalog_service.as_("u1").call("QuoteItems", BASKET)
    assert quoted.total == "227.00"
    assert not any(item.HasField("available") for item in quoted.items)


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([pb.QuoteItem(product_id="42", quantity=0)], "items[0].quantity"),
        ([pb.QuoteItem(product_id="x", quantity=1)], "items[0].product_id"),
    ],
)
async def test_senseless_basket(catalog_service: Service, items: list[pb.QuoteItem], field: str) -> None:
    """A basket that cannot be priced is bad input, naming the field."""
    refusal = await catalog_service.as_("u1").refusal("QuoteItems", pb.QuoteItemsRequest(items=items))
    assert (refusal.code, list(refusal.fields)) == ("INVALID_INPUT", [field])
