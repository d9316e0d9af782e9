"""Endpoints in the service's own database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from chassis.database.database import Database, lock_in_transaction, newest, row_of
from chassis.pagination import Place
from webhooks.outgoing.domain import Endpoint
from webhooks.outgoing.sql_store.tables import attempts, deliveries, endpoint_by_id, endpoint_of, endpoints


class SqlEndpointStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, endpoint: Endpoint, *, most: int) -> bool:
        return await self._database.write(lambda rows: _add(rows, endpoint, most))

    async def get(self, endpoint_id: str) -> Endpoint | None:
        return await self._database.read(lambda rows: endpoint_by_id(rows, endpoint_id))

    async def page(self, owner_id: str | None, *, after: Place | None, size: int) -> list[Endpoint]:
        statement = newest(select(endpoints), endpoints, after, size)
        if owner_id is not None:
            statement = statement.where(endpoints.c.owner_id == owner_id)
        return await self._database.read(lambda rows: [endpoint_of(row) for row in rows.execute(statement)])

    async def update(self, endpoint_id: str, changes: Mapping[str, Any]) -> None:
        values = {**changes, "event_types": json.dumps(changes["event_types"])} if "event_types" in changes else changes
        changed = update(endpoints).where(endpoints.c.id == endpoint_id).values(values)
        await self._database.write(lambda rows: rows.execute(changed))

    async def replace_secret(self, endpoint: Endpoint, replaced: str) -> bool:
        unchanged = (endpoints.c.id == endpoint.id) & (endpoints.c.secret == replaced)
        anew = update(endpoints).where(unchanged).values(_secrets(endpoint))
        return await self._database.write(lambda rows: rows.execute(anew).rowcount == 1)

    async def delete(self, endpoint_id: str) -> None:
        await self._database.write(lambda rows: _delete(rows, endpoint_id))


def _add(connection: Connection, endpoint: Endpoint, most: int) -> bool:
    lock_in_transaction(connection, f"endpoints of {endpoint.owner_id}")
    theirs = endpoints.c.owner_id == endpoint.owner_id
    count = connection.scalar(select(func.count()).select_from(endpoints).where(theirs))
    if (count or 0) >= most:
        return False
    row = row_of(endpoint, endpoints, event_types=json.dumps(endpoint.event_types), **_secrets(endpoint))
    connection.execute(insert(endpoints).values(row))
    return True


def _delete(connection: Connection, endpoint_id: str) -> None:
    theirs = select(deliveries.c.id).where(deliveries.c.endpoint_id == endpoint_id)
    # In the order in which attempts are recorded, or the two would wait for each other; and of one that is being
    # recorded now, nothing stays behind.
    connection.execute(theirs.with_for_update())
    connection.execute(delete(endpoints).where(endpoints.c.id == endpoint_id))
    connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(theirs)))
    connection.execute(delete(deliveries).where(deliveries.c.endpoint_id == endpoint_id))


def _secrets(endpoint: Endpoint) -> dict[str, object]:
    old = [{"secret": old.secret, "until": old.until.isoformat()} for old in endpoint.old_secrets]
    return {"secret": endpoint.secret, "old_secrets": json.dumps(old)}
