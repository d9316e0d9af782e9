"""The bounds and errors in the contracts' comments are those that the services hold callers to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protos.shop.catalog.v1 import catalog_pb2 as catalog
from services.catalog.domain import MAX_PRICE
from services.catalog.use_cases import MAX_IDS
from services.erp_adapter.domain import MAX_PIECES
from services.orders.domain import MAX_ITEMS
from tests.services.conftest import Service

PROTOS = Path(__file__).parents[2] / "protos/shop"


def comment(contract: str, part: str) -> str:
    """The comment above a field or method, `Message.field` or `Service.Method`."""
    text = (PROTOS / contract).with_suffix(".proto").read_text()
    block, name = part.split(".")
    within = re.search(rf"^(?:message|service) {block} \{{(.*?)^\}}", text, re.DOTALL | re.MULTILINE)
    assert within, part
    found = re.search(rf"((?:^  //.*\n)+)  (?:[^/\n]*[ ]){name}(?: =|\()", within[1], re.MULTILINE)
    assert found, part
    return " ".join(line.strip(" /") for line in found[1].splitlines())


@pytest.mark.parametrize(
    ("contract", "part", "promise"),
    [
        ("catalog/v1/catalog", "ProductDraft.price", f"0-{MAX_PRICE:,}, with at most the currency's own places"),
        ("catalog/v1/catalog", "Product.price", "with the currency's own places"),
        ("catalog/v1/catalog", "QuoteItemsRequest.items", f"1-{MAX_IDS} lines"),
        ("orders/v1/orders", "PlaceOrderRequest.items", f"1-{MAX_ITEMS} lines"),
        ("erp/v1/erp", "SalesOrderItem.unit_price", "with at most the currency's own places"),
        ("erp/v1/erp", "SalesOrderItem.quantity", f"1-{MAX_PIECES:,}"),
        ("inventory/v1/inventory", "InventoryService.Release", "RESERVATION_NOT_HELD"),
        ("inventory/v1/inventory", "InventoryService.Ship", "RESERVATION_NOT_HELD"),
    ],
)
def test_comments_say_what_the_code_does(contract: str, part: str, promise: str) -> None:
    """A comment has the code's own bound, or the error that the code answers."""
    assert promise in comment(contract, part)


async def test_texts_are_bounded_as_the_comment_says(catalog_service: Service) -> None:
    """A name and a description as long as their comments allow are accepted; one character more is rejected."""
    valid = {"name": "n", "category": "books", "price": "1.00", "currency": "EUR"}
    for field in ("name", "description"):
        about = comment("catalog/v1/catalog", f"ProductDraft.{field}")
        longest = int(re.sub(r".*?([0-9,]+) characters.*", r"\1", about).replace(",", ""))
        draft = catalog.ProductDraft(**{**valid, field: "x" * longest})
        await catalog_service.admin.call("CreateProduct", catalog.CreateProductRequest(draft=draft))
        draft = catalog.ProductDraft(**{**valid, field: "x" * (longest + 1)})
        refusal = await catalog_service.admin.refusal("CreateProduct", catalog.CreateProductRequest(draft=draft))
        assert list(refusal.fields) == [field]


async def test_a_basket_is_bounded_as_the_comment_says(catalog_service: Service) -> None:
    """As many lines as the comment allows are priced; one more is rejected."""
    for lines, accepted in ((MAX_IDS, True), (MAX_IDS + 1, False)):
        items = [catalog.QuoteItem(product_id="42", quantity=1)] * lines
        call = catalog_service.admin.call("QuoteItems", catalog.QuoteItemsRequest(items=items))
        if accepted:
            assert len((await call).items) == lines
        else:
            with pytest.raises(Exception, match="INVALID_INPUT"):
                await call
