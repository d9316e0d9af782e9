"""Ports of the use cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from services.catalog.domain import Product


class ProductStore(Protocol):
    async def by_ids(self, ids: Sequence[str]) -> dict[str, Product]:
        """Unknown and deleted ones are left out."""

    async def page(self, *, category: str, query: str, after: str, size: int) -> list[Product]:
        """Up to `size` products in the order of their ids, beginning after one."""

    async def add(self, product: Product) -> None: ...

    async def change(self, product_id: str, change: Callable[[Product], Product]) -> Product:
        """Replace a product by the result of `change`, and publish it. Raises NOT_FOUND, and what `change` raises."""

    async def delete(self, product_id: str, check: Callable[[Product], None]) -> None:
        """Raises NOT_FOUND and what `check` raises."""

    async def change_once(self, event_id: str, product_id: str, change: Callable[[Product], Product]) -> Product:
        """Change a product, but not for an event that was seen before; return the product as it is then."""


class Inventory(Protocol):
    async def available(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        """Available quantities by product id. Raises UPSTREAM_UNAVAILABLE or DEADLINE_EXCEEDED."""
