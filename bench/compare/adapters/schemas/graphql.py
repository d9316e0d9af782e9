"""The GraphQL schema: products, and order lines whose product is resolved row by row or by a DataLoader."""

from __future__ import annotations

import hashlib
from typing import Any

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache

from bench.compare.adapters import rows
from bench.compare.adapters.port import Selection


@strawberry.type
class Product:
    id: strawberry.ID
    name: str
    price: str
    description: str = ""
    category: str = ""
    currency: str = ""
    image_url: str = ""
    updated_at: str = ""


async def _loaded(product_ids: list[str]) -> list[Product]:
    return [Product(**row) for row in rows.full(product_ids)]  # type: ignore[arg-type]


@strawberry.type
class Line:
    """An order's line: a product's id, and the product only when selected."""

    product_id: strawberry.Private[str]
    loader: strawberry.Private[DataLoader[str, Product] | None]

    @strawberry.field
    async def product(self) -> Product:
        if self.loader is not None:
            return await self.loader.load(self.product_id)
        return (await _loaded([self.product_id]))[0]


@strawberry.type
class Query:
    @strawberry.field
    async def product(self, id: strawberry.ID) -> Product:  # noqa: A002 - the schema's word
        return Product(**rows.brief(id))  # type: ignore[arg-type]

    @strawberry.field
    async def catalogue(self, limit: int) -> list[Product]:
        return [Product(**row) for row in rows.page(limit)]  # type: ignore[arg-type]

    @strawberry.field
    async def lines(self, limit: int, batched: bool) -> list[Line]:
        loader = DataLoader(_loaded) if batched else None
        return [Line(product_id=product_id, loader=loader) for product_id in rows.page_ids(limit)]


schema = strawberry.Schema(Query, extensions=[ParserCache, ValidationCache])

# One document for whatever product, so its id is a variable.
DOCUMENT = "query ($id: ID!) { product(id: $id) { id name price } }"
DOCUMENT_ID = f"sha256:{hashlib.sha256(DOCUMENT.encode()).hexdigest()}"
TRUSTED = {DOCUMENT_ID: DOCUMENT}


def posted(selection: Selection, *, trusted: bool = False, page: str = "catalogue") -> dict[str, Any]:
    """The body of a request: the query's text, or for a single read the hash of a document that the server has."""
    if trusted:
        return {"documentId": DOCUMENT_ID, "variables": {"id": selection.ids[0]}}
    return {"query": queried(selection, page)}


def queried(selection: Selection, page: str = "catalogue") -> str:
    """The query of a question: one alias for each id, or a page of the field of that name, or lines with products."""
    if not selection.limit:
        aliases = " ".join(f'p{each}: product(id: "{each}") {{ id name price }}' for each in selection.ids)
        return f"{{ {aliases} }}"
    fields = " ".join(camel(name) for name in selection.fields)
    if selection.how:
        batched = str(selection.how == "batched").lower()
        return f"{{ lines(limit: {selection.limit}, batched: {batched}) {{ product {{ {fields} }} }} }}"
    return f"{{ {page}(limit: {selection.limit}) {{ {fields} }} }}"


def camel(name: str) -> str:
    """A field's name in the schema."""
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)
