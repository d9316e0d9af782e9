"""The composition of outgoing webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Table

from chassis.database.database import Database
from chassis.observability.tracing import Telemetry
from webhooks.outgoing.addresses import check_target, is_public
from webhooks.outgoing.consumer import QUEUE, FanOut
from webhooks.outgoing.dispatcher import Dispatcher
from webhooks.outgoing.domain import Persistence
from webhooks.outgoing.lookup import EndpointNames
from webhooks.outgoing.ports import DeliveryStore
from webhooks.outgoing.sender import http_sender
from webhooks.outgoing.sql_store import SqlDeliveryStore, SqlEndpointStore
from webhooks.outgoing.use_cases import Endpoints

__all__ = ["QUEUE", "Outgoing", "assembled"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    endpoints: Endpoints
    fan_out: FanOut
    dispatcher: Dispatcher
    deliveries: DeliveryStore


@asynccontextmanager
async def assembled(
    db: Database,
    inbox: Table,
    telemetry: Telemetry,
    persistence: Persistence,
    *,
    timeout: float,
    grace: timedelta,
    allow_private: bool,
) -> AsyncIterator[Outgoing]:
    """Outgoing webhooks on a database, ready to run.

    `timeout`: seconds that an endpoint has for its answer; `grace`: how long a replaced secret still signs.
    """

    def permitted(address: str) -> bool:
        return allow_private or is_public(address)

    names = EndpointNames()

    async def check(host: str, port: int) -> None:
        await check_target(host, port, permitted, names.look_up)

    deliveries = SqlDeliveryStore(db, inbox)
    async with http_sender(permitted, telemetry, timeout=timeout) as sender:
        dispatcher = Dispatcher(deliveries, sender, db, persistence)
        endpoints = Endpoints(
            SqlEndpointStore(db), deliveries, check, dispatcher.wake, allow_plain=allow_private, grace=grace
        )
        yield Outgoing(endpoints, FanOut(deliveries, dispatcher.wake), dispatcher, deliveries)
