"""Batched reads: rows that one operation needs at the same level are fetched from the gateway in one call.

The loaders are made anew for each operation (and each event of a subscription), so nothing that one caller may see is
ever shown to another, and no event shows a row as it was before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from chassis.clients.gateway import IDENTIFIER, Gateway

# As many ids as the gateway takes in one call.
BATCH_SIZE = 100

# A JSON object of the REST API.
Row = dict[str, Any]
# By key: what was found, or the exception with the reason; a key that is missing stands for nothing.
Found = Mapping[str, Any]
Fetch = Callable[[list[str]], Awaitable[Found]]


class Loader:
    """Fetches by key, each key once; what several fields want at the same level of a query is fetched together.

    Strawberry's DataLoader has a future for each key and two callbacks and a task for each batch, which cost the
    articles' query 7 % of its processor time (ADR 20).
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._newest: _Batch | None = None
        # The batch that fetches a key, or has fetched it.
        self._batch_of: dict[str, _Batch] = {}

    async def load(self, key: str) -> Any:
        """Value of the key, None for nothing. Raises why it was not found."""
        found = (await self.load_many([key])).get(key)
        if isinstance(found, Exception):
            raise found
        return found

    async def load_many(self, keys: Sequence[str]) -> Found:
        """Values of these keys, and maybe of others. Raises why a call failed."""
        batch_of, wanted = self._batch_of, dict.fromkeys(keys)
        new = [key for key in wanted if key not in batch_of]
        if new:
            batch = self._newest
            if batch is None or not batch.is_open:
                batch = self._newest = _Batch(self._fetch)
            batch.keys += new
            batch_of |= dict.fromkeys(new, batch)
            if len(new) == len(wanted):
                return await batch.found()
        first, *others = dict.fromkeys([batch_of[key] for key in wanted])
        found = await first.found()
        for each in others:
            found = {**found, **await each.found()}
        return found


class _Batch:
    """Keys that are fetched together, by the field that is the first to wait for them."""

    def __init__(self, fetch: Fetch) -> None:
        self.keys: list[str] = []
        self.is_open = True
        self._fetch = fetch
        self._outcome: Found | Exception | None = None
        self._is_fetching = False
        self._news: asyncio.Event | None = None

    async def found(self) -> Found:
        """Wait for what is fetched. Raises why it is not."""
        while self._outcome is None:
            if not self._is_fetching:
                # Here for the first time, or after a field that was cancelled within it.
                await self._run()
            else:
                self._news = self._news or asyncio.Event()
                await self._news.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    async def _run(self) -> None:
        self._is_fetching = True
        try:
            # Two turns of the event loop, for what the fields beside this one add.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.is_open = False
            self._outcome = await self._fetched()
        except Exception as error:  # noqa: BLE001  # `found` raises it
            self._outcome = error
        finally:
            self._is_fetching = self.is_open = False
            if self._news is not None:
                self._news.set()
                self._news = None

    async def _fetched(self) -> Found:
        keys = self.keys
        parts = [keys[start : start + BATCH_SIZE] for start in range(0, len(keys), BATCH_SIZE)]
        first, *others = await _all_of([self._fetch(part) for part in parts])
        for found in others:
            first = {**first, **found}
        return first


async def _all_of(calls: list[Awaitable[Found]]) -> list[Found]:
    return [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)


class Loaders:
    """The loaders of one operation; each is made when it is first needed, for most operations need few of them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._orders: dict[int, Loader] = {}

    @cached_property
    def users(self) -> Loader:
        return Loader(partial(_by_ids, self._gateway, "/v1/users"))

    @cached_property
    def products(self) -> Loader:
        return Loader(partial(_by_ids, self._gateway, "/v1/products"))

    @cached_property
    def order(self) -> Loader:
        return Loader(partial(_by_ids, self._gateway, "/v1/orders"))

    @cached_property
    def availability(self) -> Loader:
        return Loader(partial(_by_ids, self._gateway, "/v1/availability", name="product_id"))

    def orders(self, limit: int) -> Loader:
        """A loader of lists of newest orders, by user; several users with the same limit need one call."""
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
