"""Products from memory while the database has not changed, and one query for concurrent callers.

An adapter of `ProductStore` beside `SqlProductStore`, which it calls; both are held to the same contract suite. A
product read costs it 4 us, against 0.2 ms on SQLite; on PostgreSQL, which has no sign of a change, it only queries for
several callers at once. The bar of `make bench-edge`: a read through the gateway has at least 0.6 of a bare one's rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.broker.outbox import Outbox
from chassis.database.batching import Batcher
from chassis.database.database import Database
from services.catalog.domain import Product
from services.catalog.sql_store import SqlProductStore

# Products that are kept in memory, 1 KB each.
_MAX_KNOWN = 1_000
# Seconds from one query to the next, so that more callers share it; one that comes alone does not wait.
_EVERY = 0.005


class CachedProductStore(SqlProductStore):
    def __init__(self, database: Database, events: Outbox) -> None:
        super().__init__(database, events)
        self._database = database
        self._known: dict[str, Product] = {}
        self._known_at: int | None = None
        self._finding = Batcher(self._find_together, every=_EVERY)

    async def by_ids(self, ids: Sequence[str]) -> dict[str, Product]:
        known = self._known_now()
        missing = [product_id for product_id in ids if product_id not in known]
        if missing:
            known.update(await self._finding.submit(missing))
        return {product_id: known[product_id] for product_id in ids if product_id in known}

    async def _find_together(self, wanted: Sequence[Sequence[str]]) -> Sequence[Mapping[str, Product]]:
        """Look for what several callers want at once, and give each all that was found."""
        found = await super().by_ids(sorted({product_id for each in wanted for product_id in each}))
        return [found] * len(wanted)

    def _known_now(self) -> dict[str, Product]:
        """Entries that were read since the last write; none where the database has no version."""
        version = self._database.version()
        if version is None or version != self._known_at or len(self._known) > _MAX_KNOWN:
            self._known, self._known_at = {}, version
        return self._known
