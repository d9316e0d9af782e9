"""Which events were told already, in the service's own database: its inbox."""

from __future__ import annotations

from sqlalchemy import MetaData, bindparam, select

from chassis.broker.inbox import Inbox, inbox_table
from chassis.database import Database

CONSUMER = "order-mail"

metadata = MetaData()
inbox = inbox_table(metadata)

_TOLD = select(inbox.c.event_id).where(inbox.c.consumer == CONSUMER, inbox.c.event_id == bindparam("event"))


class SqlSentMails:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._inbox = Inbox(inbox)

    async def contains(self, event_id: str) -> bool:
        found = await self._database.read(lambda connection: connection.execute(_TOLD, {"event": event_id}).first())
        return found is not None

    async def add(self, event_id: str) -> None:
        await self._database.write(lambda connection: self._inbox.first_time(connection, CONSUMER, event_id))
