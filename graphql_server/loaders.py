"""Batched reads: rows that one operation needs at the same level are fetched from the gateway in one call.

The loaders are made anew for each operation (and each event of a subscription), so nothing that one caller may see is
ever shown to another, and no event shows a row as it was before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from strawberry.dataloader import DataLoader

from chassis.clients.gateway import IDENTIFIER, Gateway

# As many ids as the gateway takes in one call.
BATCH_SIZE = 100

# A JSON object of the REST API.
Row = dict[str, Any]
# By key: what was found, or the exception that says why it was not; a key that is missing stands for nothing.
Found = Mapping[str, Any]
Fetch = Callable[[list[str]], Awaitable[Found]]


class Loader:
    """Fetches by key, each key once, through Strawberry's DataLoader, which batches concurrent loads.

    What it batches is not keys but groups of them: a future for each of sixty products would cost more than all else
    that the query does with them (ADR 20).
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._groups: DataLoader[tuple[str, ...], Found] = DataLoader(self._fetch_groups, cache=False)
        self._group_of: dict[str, Awaitable[Found]] = {}

    async def load(self, key: str) -> Any:
        """Value of the key, None for nothing. Raises why it was not found."""
        found = (await self.load_many([key])).get(key)
        if isinstance(found, Exception):
            raise found
        return found

    async def load_many(self, keys: Sequence[str]) -> Found:
        """Values of these keys, and maybe of others. Raises why a call failed."""
        group_of = self._group_of
        new = tuple([key for key in dict.fromkeys(keys) if key not in group_of])
        if new:
            group_of |= dict.fromkeys(new, self._groups.load(new))
        first, *others = dict.fromkeys([group_of[key] for key in keys])
        found = await first
        for group in others:
            found = {**found, **await group}
        return found

    async def _fetch_groups(self, groups: list[tuple[str, ...]]) -> list[Found]:
        keys = list(chain.from_iterable(groups))
        batches = [keys[start : start + BATCH_SIZE] for start in range(0, len(keys), BATCH_SIZE)]
        first, *others = await _all_of([self._fetch(batch) for batch in batches])
        for found in others:
            first = {**first, **found}
        return [first] * len(groups)


async def _all_of(calls: list[Awaitable[Found]]) -> list[Found]:
    return [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)


class Loaders:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.users = Loader(partial(_by_ids, gateway, "/v1/users"))
        self.products = Loader(partial(_by_ids, gateway, "/v1/products"))
        self.order = Loader(partial(_by_ids, gateway, "/v1/orders"))
        self.availability = Loader(partial(_by_ids, gateway, "/v1/availability", name="product_id"))
        self._orders: dict[int, Loader] = {}

    def orders(self, limit: int) -> Loader:
        """By user, a list of their newest orders; those of several users with the same limit come in one call."""
        if limit not in self._orders:
            self._orders[limit] = Loader(partial(_newest_orders, self._gateway, limit))
        return self._orders[limit]


async def _by_ids(gateway: Gateway, path: str, ids: list[str], *, name: str = "id") -> Found:
    """Rows by what is in them under `name`; the query parameter that lists the ids is its plural."""
    possible = list(filter(IDENTIFIER.fullmatch, ids))
    if not possible:
        return {}
    return {row[name]: row for row in (await gateway.get(path, **{f"{name}s": ",".join(possible)}))["items"]}


async def _newest_orders(gateway: Gateway, limit: int, user_ids: list[str]) -> Found:
    found: dict[str, list[Row]] = {user_id: [] for user_id in user_ids}
    for row in (await gateway.get("/v1/orders", user_id=",".join(user_ids), limit=limit))["items"]:
        found[row["user_id"]].append(row)
    return found
