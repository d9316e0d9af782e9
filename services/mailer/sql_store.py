"""The inbox in the service's own database: events that were mailed already."""

from __future__ import annotations

from sqlalchemy import MetaData, bindparam, select

from chassis.broker.inbox import INBOX_RETENTION, Inbox, inbox_table
from chassis.database.database import Database
from chassis.observability.tracing import note
from chassis.retention import MIGRATED, Retention

CONSUMER = "order-mail"

metadata = MetaData()
inbox = inbox_table(metadata)
RETENTION: Retention = {**MIGRATED, "inbox": INBOX_RETENTION}

_SENT = select(inbox.c.event_id).where(inbox.c.consumer == CONSUMER, inbox.c.event_id == bindparam("event"))


class SqlSentMails:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._inbox = Inbox(inbox)

    async def contains(self, event_id: str) -> bool:
        found = await self._database.read(lambda connection: connection.execute(_SENT, {"event": event_id}).first())
        if found is not None:
            note("duplicate_dropped")
        return found is not None

    async def add(self, event_id: str) -> None:
        await self._inbox.record(self._database, CONSUMER, event_id)
