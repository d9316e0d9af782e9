"""What one request has asked the gateway for: rows wanted at the same level of a query are fetched in one call.

Made anew for each request, so that nothing one caller may see is ever shown to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from graphql_server.gateway_client import IDENTIFIER, Gateway, is_identifier

# As many ids as the gateway takes in one call.
_BATCH = 100

# A JSON object of the REST API.
Row = dict[str, Any]
# Key -> what was found, or why it was not; a key that is missing stands for nothing.
Found = Mapping[str, Any]
Fetch = Callable[[list[str]], Awaitable[Found]]


class _Batch:
    """Keys that are fetched together: all that are asked for before the event loop's next turn."""

    def __init__(self, fetch: Fetch, most: int) -> None:
        self._most = most
        self._keys: list[str] | None = []
        # One task for all keys, not a future for each: with sixty keys that is most of a loader's price.
        self.found = asyncio.create_task(self._run(fetch))
        # What nobody waits for any more need not be reported as never looked at.
        self.found.add_done_callback(lambda task: task.cancelled() or task.exception())

    def take(self, keys: list[str]) -> int:
        """Fetch these too, and say how many of them there was room for."""
        if self._keys is None:
            return 0
        room = self._most - len(self._keys)
        self._keys += keys[:room]
        return min(room, len(keys))

    async def _run(self, fetch: Fetch) -> Found:
        keys, self._keys = self._keys or [], None
        return await fetch(keys)


class Loader:
    """Fetches by key, each key once, and what is asked for at the same time together."""

    def __init__(self, fetch: Fetch, *, most: int = _BATCH) -> None:
        self._fetch = fetch
        self._most = most
        self._batches: dict[str, asyncio.Task[Found]] = {}
        self._open: _Batch | None = None

    async def load(self, key: str) -> Any:
        """What the key stands for, None for nothing. Raises why it was not found."""
        found = (await self.load_all([key])).get(key)
        if isinstance(found, Exception):
            raise found
        return found

    async def load_all(self, keys: Sequence[str]) -> Found:
        """What many keys stand for, and maybe more. Raises what the fetching raised."""
        batches = self._batches
        self._ask([key for key in dict.fromkeys(keys) if key not in batches])
        all_found: dict[str, Any] = {}
        for found in dict.fromkeys([batches[key] for key in keys]):
            # Shielded: one who gives up must not take it from the others.
            all_found |= await asyncio.shield(found)
        return all_found

    def _ask(self, keys: list[str]) -> None:
        while keys:
            batch = self._open or _Batch(self._fetch, self._most)
            taken = batch.take(keys)
            self._batches |= dict.fromkeys(keys[:taken], batch.found)
            keys = keys[taken:]
            self._open = batch if taken else None


class Loaders:
    """What fetches is given the gateway and not this object.

    Otherwise all rows of a request would wait for the garbage collector, and each request would work in cold memory.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.users = Loader(partial(_by_ids, gateway, "/v1/users"))
        self.products = Loader(partial(_by_ids, gateway, "/v1/products"))
        self.order = Loader(partial(_one_by_one, gateway, "/v1/orders/{}"))
        self.availability = Loader(partial(_by_ids, gateway, "/v1/availability", name="product_id"))
        self._orders: dict[int, Loader] = {}

    def orders(self, limit: int) -> Loader:
        """By user, their newest orders; those of several users with the same limit come in one call."""
        loader = self._orders.get(limit)
        if loader is None:
            loader = self._orders[limit] = Loader(partial(_newest_orders, self._gateway, limit))
        return loader


async def _by_ids(gateway: Gateway, path: str, ids: list[str], *, name: str = "id") -> Found:
    """Rows by what is in them under `name`; the parameter that lists them is its plural."""
    possible = list(filter(IDENTIFIER.fullmatch, ids))
    if not possible:
        return {}
    return {row[name]: row for row in (await gateway.get(path, **{f"{name}s": ",".join(possible)}))["items"]}


async def _newest_orders(gateway: Gateway, limit: int, user_ids: list[str]) -> Found:
    found: dict[str, list[Row]] = {user_id: [] for user_id in user_ids}
    for row in (await gateway.get("/v1/orders", user_id=",".join(user_ids), limit=limit))["items"]:
        found[row["user_id"]].append(row)
    return found


async def _one_by_one(gateway: Gateway, path: str, ids: list[str]) -> Found:
    """Side by side: the gateway has no batched form of it."""
    possible = [each for each in ids if is_identifier(each)]
    calls = [gateway.get_one(path.format(each)) for each in possible]
    return dict(zip(possible, await asyncio.gather(*calls, return_exceptions=True), strict=True))
