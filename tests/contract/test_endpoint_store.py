"""The store of webhook endpoints, on every database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from chassis.database.database import database
from chassis.settings import ProcessSettings
from webhooks.bootstrap import MIGRATIONS
from webhooks.outgoing.domain import Endpoint
from webhooks.outgoing.sql_store import SqlEndpointStore

MAX_ENDPOINTS = 20


async def test_no_customer_gets_one_endpoint_too_many(database_url: str, tmp_path: Path) -> None:
    """However many two processes add at once, an owner has as many as allowed, and another owner is not concerned."""
    url = ProcessSettings(data_dir=tmp_path, database_url=database_url).database("webhooks")
    async with database(url, MIGRATIONS, create=True) as first, database(url, MIGRATIONS) as second:
        stores = [SqlEndpointStore(each) for each in (first, second)]

        async def add(number: int, owner: str) -> bool:
            endpoint = Endpoint(f"{owner}{number}", owner, False, "", ["order.*"], "", "whsec_x", datetime.now(UTC))
            return await stores[number % 2].add(endpoint, most=MAX_ENDPOINTS)

        added = await asyncio.gather(*(add(number, "ada") for number in range(MAX_ENDPOINTS + 12)), add(0, "bob"))
        assert sum(added) == MAX_ENDPOINTS + 1
        assert added[-1]
