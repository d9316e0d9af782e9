"""Accepting an order: check, quote, decide, store. Everything else happens after the customer has the answer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from chassis import wall_clock
from chassis.errors import Kind, ShopError
from services.orders import domain
from services.orders.domain import Order, Status
from services.orders.ports import Catalog, OrderStore, Quote


class OrderPlacement:
    def __init__(self, store: OrderStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def place_order(self, user_id: str, basket: Sequence[tuple[str, int]], key: str) -> tuple[Order, bool]:
        """Accept an order as pending; also whether it is a new one.

        A repeated `key` with the same basket returns the order as it was first accepted. Raises INVALID_INPUT,
        IDEMPOTENCY_KEY_REUSED, or UPSTREAM_UNAVAILABLE while the catalog gives no prices.
        """
        domain.check_basket(basket)
        fingerprint = domain.fingerprint(basket)
        new_id = ""
        try:
            quote = await self._catalog.quote(basket)
        except ShopError:
            # An order that was accepted before stays accepted, whatever has become of its products since.
            stored = await self._store.by_key(user_id, key) if key else None
            if stored is None:
                raise
        else:
            order, placed = domain.place(_new_order(user_id, quote))
            new_id = order.id
            stored = await self._store.add(order, placed, key=key, fingerprint=fingerprint)
        order, stored_fingerprint = stored
        if stored_fingerprint != fingerprint:
            raise domain.key_reused()
        return replace(order, status=Status.PENDING, status_reason="", version=1), order.id == new_id


def _new_order(user_id: str, quote: Quote) -> Order:
    if not user_id:
        raise ShopError("FORBIDDEN", "an order must have an owner: sign in", Kind.FORBIDDEN)
    return Order(
        id=uuid.uuid4().hex,
        user_id=user_id,
        status=Status.PENDING,
        status_reason="",
        items=quote.items,
        total=quote.total,
        currency=quote.currency,
        placed_at=wall_clock.now(),
    )
