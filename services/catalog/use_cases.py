"""The use cases of catalog, in plain types."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from chassis import wall_clock
from chassis.errors import Kind, ShopError, invalid
from services.catalog.domain import Product, Quote, changed, quote, version_mismatch
from services.catalog.ports import Inventory, ProductStore

MAX_IDS = 100
_REQUIRED = ("name", "category", "price", "currency")
_BLANK = Product("", "", "", "", Decimal(0), "", "", datetime.min.replace(tzinfo=UTC), 0)


class Catalog:
    def __init__(self, store: ProductStore, inventory: Inventory) -> None:
        self._store = store
        self._inventory = inventory

    async def products(self, ids: Sequence[str]) -> list[Product]:
        """The products in the order of `ids`; unknown ones are left out."""
        if len(ids) > MAX_IDS:
            at_most = f"must have at most {MAX_IDS} ids"
            raise invalid(f"request {at_most}", ids=at_most)
        found = await self._store.by_ids(ids)
        return [found[product_id] for product_id in dict.fromkeys(ids) if product_id in found]

    async def page(self, *, category: str, query: str, after: str, size: int) -> tuple[list[Product], str]:
        """One page, and the id to continue after ("" on the last)."""
        products = await self._store.page(category=category, query=query, after=after, size=size + 1)
        return products[:size], products[size - 1].id if len(products) > size else ""

    async def quote(self, basket: Sequence[tuple[str, int]]) -> tuple[Quote, Mapping[str, int]]:
        """Prices, and what inventory could deliver. Raises INVALID_INPUT.

        Without an answer from inventory the second is empty: an order can be priced and accepted all the same, and is
        reserved for later by the order's own processing.
        """
        if not 1 <= len(basket) <= MAX_IDS:
            raise invalid(f"basket must have 1 to {MAX_IDS} items", items=f"must be 1 to {MAX_IDS} items")
        ids = list(dict.fromkeys(product_id for product_id, _ in basket))
        quoted = quote(basket, await self._store.by_ids(ids))
        try:
            return quoted, await self._inventory.available(ids)
        except ShopError as error:
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED):
                raise
            return quoted, {}

    async def create(self, fields: Mapping[str, str]) -> Product:
        missing = {field: "is required" for field in _REQUIRED if field not in fields}
        if missing:
            raise invalid("the product cannot be accepted", **missing)
        product = replace(changed(_BLANK, fields, wall_clock.now()), id=uuid.uuid4().hex)
        await self._store.add(product)
        return product

    async def update(self, product_id: str, fields: Mapping[str, str], if_version: int | None) -> Product:
        """Raises NOT_FOUND, INVALID_INPUT, or VERSION_MISMATCH when it is not the version that the caller has seen."""

        def change(product: Product) -> Product:
            _check_version(product, if_version)
            return changed(product, fields, wall_clock.now())

        return await self._store.change(product_id, change)

    async def delete(self, product_id: str, if_version: int | None) -> None:
        """Raises NOT_FOUND or VERSION_MISMATCH."""
        await self._store.delete(product_id, lambda product: _check_version(product, if_version))

    async def refresh_material(self, product_id: str, event_id: str, refreshed_at: datetime) -> Product:
        """Note that a product's material is newer; once per event. Raises NOT_FOUND."""
        return await self._store.change_once(
            event_id,
            product_id,
            # An old push that is handled late makes nothing older.
            lambda product: replace(
                product, updated_at=max(product.updated_at, refreshed_at), version=product.version + 1
            ),
        )


def _check_version(product: Product, if_version: int | None) -> None:
    if if_version is not None and if_version != product.version:
        raise version_mismatch(product)
