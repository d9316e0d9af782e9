"""Deliveries and their attempts in the service's own database."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, delete, func, insert, select, update

from chassis import wall_clock
from chassis.broker.inbox import Inbox
from chassis.broker.port import Event
from chassis.database.database import Database, insert_missing, item_of, newest, row_of
from chassis.pagination import Place
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, Status
from webhooks.outgoing.ports import QUEUE, Decision
from webhooks.outgoing.sql_store.tables import attempts, deliveries, endpoint_by_id, endpoint_of, endpoints

_SUBSCRIBED = select(endpoints).where(
    endpoints.c.enabled & (endpoints.c.sees_all | (endpoints.c.owner_id == bindparam("owner")))
)
_TO_ENDPOINTS = deliveries.join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)


class SqlDeliveryStore:
    def __init__(self, database: Database, inbox: Table) -> None:
        self._database = database
        self._inbox = Inbox(inbox)
        self._handled = inbox

    async def fan_out(self, event: Event, owner_id: str, body: bytes) -> int:
        # An event without a subscriber leaves no row, not even in the inbox.
        if not await self._database.read(lambda rows: _subscribed(rows, event, owner_id)):
            return 0
        return await self._database.write(lambda rows: self._fan_out(rows, event, owner_id, body))

    def _fan_out(self, connection: Connection, event: Event, owner_id: str, body: bytes) -> int:
        if not self._inbox.first_time(connection, QUEUE, event.id):
            return 0
        now = wall_clock.now()
        new = [
            _new_row(event, endpoint, body, now) for endpoint in _subscribed(connection, event, owner_id, locked=True)
        ]
        if new:
            connection.execute(insert_missing(connection, deliveries), new)
        return len(new)

    async def page(self, endpoint_id: str, *, after: Place | None, size: int) -> list[Delivery]:
        theirs = newest(select(deliveries).where(deliveries.c.endpoint_id == endpoint_id), deliveries, after, size)
        return await self._database.read(lambda rows: _with_attempts(rows, theirs))

    async def get(self, endpoint_id: str, delivery_id: str) -> Delivery | None:
        one = (deliveries.c.id == delivery_id) & (deliveries.c.endpoint_id == endpoint_id)
        found = await self._database.read(lambda rows: _with_attempts(rows, select(deliveries).where(one)))
        return next(iter(found), None)

    async def redeliver(self, delivery: Delivery) -> bool:
        return await self._database.write(lambda rows: _redeliver(rows, delivery))

    async def endpoints_due(self, now: datetime) -> list[str]:
        due = _served(now) & (deliveries.c.next_attempt_at <= now)
        statement = select(deliveries.c.endpoint_id).distinct().select_from(_TO_ENDPOINTS).where(due)
        return await self._database.read(lambda rows: list(rows.scalars(statement)))

    async def shorten_waits(self, now: datetime, waits: Sequence[timedelta], pause: timedelta) -> None:
        await self._database.write(lambda rows: _shorten_waits(rows, now, waits, pause))

    async def next_due(self, now: datetime) -> datetime | None:
        pending = _served(now) & deliveries.c.next_attempt_at.is_not(None)
        statement = select(func.min(deliveries.c.next_attempt_at)).select_from(_TO_ENDPOINTS).where(pending)
        return await self._database.read(lambda rows: rows.scalar(statement))

    async def due(self, endpoint_id: str, now: datetime, limit: int) -> tuple[Endpoint | None, list[Delivery]]:
        theirs = (deliveries.c.endpoint_id == endpoint_id) & (deliveries.c.next_attempt_at <= now)
        longest_first = select(deliveries).where(theirs).order_by(deliveries.c.next_attempt_at).limit(limit)

        def look(connection: Connection) -> tuple[Endpoint | None, list[Delivery]]:
            endpoint = endpoint_by_id(connection, endpoint_id)
            if endpoint is None or not endpoint.is_served(now):
                return None, []
            return endpoint, [_delivery(row, ()) for row in connection.execute(longest_first)]

        return await self._database.read(look)

    async def record(self, sent: Delivery, attempt: Attempt, decide: Decision) -> None:
        await self._database.write(lambda rows: _record(rows, sent, attempt, decide))

    async def delete_expired(self, before: datetime, limit: int) -> int:
        return await self._database.write(lambda rows: _delete_expired(rows, before, limit))

    async def delete_events(self, before: datetime, limit: int) -> int:
        handled = self._handled.c
        old = select(handled.event_id).where(handled.consumer == QUEUE, handled.handled_at < before).limit(limit)
        these = (handled.consumer == QUEUE) & handled.event_id.in_(old)
        return await self._database.write(lambda rows: rows.execute(delete(self._handled).where(these)).rowcount)


def _subscribed(connection: Connection, event: Event, owner_id: str, *, locked: bool = False) -> list[Endpoint]:
    """The endpoints that an event concerns; `locked` against being deleted before the transaction ends.

    A delivery to a deleted one would never be read.
    """
    statement = _SUBSCRIBED.with_for_update(read=True, key_share=True) if locked else _SUBSCRIBED
    found = [endpoint_of(row) for row in connection.execute(statement, {"owner": owner_id})]
    return [endpoint for endpoint in found if endpoint.subscribes_to(event.type)]


def _redeliver(connection: Connection, delivery: Delivery) -> bool:
    # Not how often it was attempted: that may have changed since it was read.
    requested = {"status": delivery.status, "retries": delivery.retries, "next_attempt_at": delivery.next_attempt_at}
    again = update(deliveries).where(deliveries.c.id == delivery.id).values({**requested, "settled_at": None})
    found = connection.execute(again).rowcount == 1
    unpaused = update(endpoints).where(endpoints.c.id == delivery.endpoint_id).values(paused_until=None)
    connection.execute(unpaused)
    return found


def _record(connection: Connection, sent: Delivery, attempt: Attempt, decide: Decision) -> None:
    row = connection.execute(select(deliveries).where(deliveries.c.id == sent.id).with_for_update()).one_or_none()
    endpoint = endpoint_by_id(connection, sent.endpoint_id, locked=True)
    if row is None or endpoint is None:
        return
    delivery = _delivery(row, ())
    attempt = replace(attempt, number=delivery.attempts + 1)
    endpoint, progress = decide(endpoint, delivery, attempt)
    if delivery.next_attempt_at != sent.next_attempt_at:
        # Requested anew while this attempt was on its way: that is still to be done.
        progress = replace(delivery, attempts=attempt.number)
    connection.execute(_progress(progress))
    connection.execute(insert(attempts).values(row_of(attempt, attempts, delivery_id=delivery.id)))
    health: dict[str, object] = {"failing_since": endpoint.failing_since, "enabled": endpoint.enabled}
    health["disabled_reason"] = endpoint.disabled_reason
    if attempt.requested_pause:
        health["paused_until"] = endpoint.paused_until
    connection.execute(update(endpoints).where(endpoints.c.id == endpoint.id).values(health))


def _shorten_waits(connection: Connection, now: datetime, waits: Sequence[timedelta], pause: timedelta) -> None:
    paused = update(endpoints).where(endpoints.c.paused_until > now + pause).values(paused_until=now + pause)
    connection.execute(paused)
    # Of an endpoint that pauses, nothing is sent before the pause is over, and its deliveries show it.
    pausing = select(endpoints.c.id).where(endpoints.c.paused_until > now)
    for retries, wait in enumerate(waits):
        later = (deliveries.c.next_attempt_at > now + wait) & (deliveries.c.retries == retries)
        these = later & deliveries.c.endpoint_id.not_in(pausing)
        connection.execute(update(deliveries).where(these).values(next_attempt_at=now + wait))


def _delete_expired(connection: Connection, before: datetime, limit: int) -> int:
    # Rows that another transaction has locked are skipped: a retry may just be requested for them.
    over = select(deliveries.c.id).where(deliveries.c.settled_at < before).order_by(deliveries.c.settled_at)
    ids = list(connection.scalars(over.limit(limit).with_for_update(skip_locked=True)))
    connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(ids)))
    connection.execute(delete(deliveries).where(deliveries.c.id.in_(ids)))
    return len(ids)


def _served(now: datetime) -> ColumnElement[bool]:
    """The SQL form of `Endpoint.is_served`."""
    return endpoints.c.enabled & (endpoints.c.paused_until.is_(None) | (endpoints.c.paused_until <= now))


def _progress(delivery: Delivery) -> Any:
    """The statement that stores a delivery's progress."""
    return (
        update(deliveries)
        .where(deliveries.c.id == delivery.id)
        .values(
            status=delivery.status,
            attempts=delivery.attempts,
            retries=delivery.retries,
            next_attempt_at=delivery.next_attempt_at,
            settled_at=None if delivery.next_attempt_at else wall_clock.now(),
        )
    )


def _with_attempts(connection: Connection, statement: Select[Any]) -> list[Delivery]:
    rows = connection.execute(statement).all()
    of_these = attempts.c.delivery_id.in_([row.id for row in rows])
    made: dict[str, list[Attempt]] = defaultdict(list)
    for row in connection.execute(select(attempts).where(of_these).order_by(attempts.c.number)):
        made[row.delivery_id].append(
            Attempt(row.number, row.at, row.duration_ms, row.status_code, row.error, row.response)
        )
    return [_delivery(row, made[row.id]) for row in rows]


def _new_row(event: Event, endpoint: Endpoint, body: bytes, now: datetime) -> dict[str, object]:
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "endpoint_id": endpoint.id,
        "event_id": event.id,
        "event_type": event.type,
        "subject": event.subject,
        "body": body,
        "traceparent": event.extensions.get("traceparent", ""),
        "created_at": now,
        "status": Status.PENDING,
        "attempts": 0,
        "retries": 0,
        "next_attempt_at": now,
    }


def _delivery(row: Any, made: Sequence[Attempt]) -> Delivery:
    return item_of(Delivery, row, status=Status(row.status), made=made)
