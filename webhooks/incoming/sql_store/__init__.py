"""Webhooks in the service's own database, once the intake has written them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from chassis import wall_clock
from chassis.broker.inbox import inbox_table
from chassis.database.database import Database, UtcTime, item_of, newest
from chassis.pagination import Place
from chassis.retention import MIGRATED, Deleted, Retention
from webhooks.incoming.domain import Outcome, Page, Replay, Selection, Status, Webhook

_MAX_ERROR = 500
# A payment provider's webhook is a hundredth of this; a page of larger ones would not fit into an answer.
_MAX_RECORDED_BODY = 64 << 10

metadata = sa.MetaData()
webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("provider_event_id", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("traceparent", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("published_at", UtcTime),
    sa.Column("replays", sa.Integer, nullable=False),
    sa.UniqueConstraint("provider", "provider_event_id"),
)
webhook_replays = sa.Table(
    "webhook_replays",
    metadata,
    sa.Column("webhook_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
inbox = inbox_table(metadata)
RETENTION: Retention = {
    **MIGRATED,
    "webhooks": Deleted("SHOP_WEBHOOKS_KEEP after they were processed, by webhooks.retention"),
    "webhook_replays": Deleted("with their webhook"),
    "inbox": Deleted("SHOP_WEBHOOKS_KEEP after the event was handled, by webhooks.retention"),
}

_ONE = sa.select(webhooks).where(webhooks.c.id == sa.bindparam("at"))
# Without what may be a megabyte each.
_SUMMARY = [column for column in webhooks.c if column.name not in ("body", "headers")]
# Only while it is the same publication: a replay may have come in between.
_MARK = sa.update(webhooks).where(webhooks.c.id == sa.bindparam("at"), webhooks.c.replays == sa.bindparam("replay"))
MARK_PROCESSED = _MARK.where(webhooks.c.status != Status.PROCESSED).values(
    status=Status.PROCESSED, outcome=sa.bindparam("outcome"), error="", attempts=webhooks.c.attempts + 1
)
_MARK_PUBLISHED = _MARK.values(published_at=sa.bindparam("now"))
_UNPUBLISHED = sa.select(*_SUMMARY).where(webhooks.c.published_at.is_(None)).order_by(webhooks.c.received_at)


class SqlWebhookStore:
    """Store whose every mark is a statement of its own; the shop runs the one in `batching.py`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, webhook_id: str) -> Webhook | None:
        row = await self._database.row(_ONE, {"at": webhook_id})
        return replace(_summary(row), body=row.body, headers=json.loads(row.headers)) if row else None

    async def mark_processed(self, webhook: Webhook, outcome: Outcome) -> None:
        await self._database.execute(MARK_PROCESSED, mark(webhook, outcome=outcome))

    async def mark_failed(self, webhook_id: str, error: str) -> None:
        failed = {"status": Status.FAILED, "error": error[:_MAX_ERROR], "attempts": webhooks.c.attempts + 1}
        unless_done = (webhooks.c.id == webhook_id) & (webhooks.c.status != Status.PROCESSED)
        await self._database.write(lambda rows: rows.execute(sa.update(webhooks).where(unless_done).values(failed)))

    async def unpublished(self, limit: int) -> list[Webhook]:
        return [_summary(row) for row in await self._database.rows(_UNPUBLISHED.limit(limit))]

    async def mark_published(self, published: Sequence[Webhook]) -> None:
        now = wall_clock.now()
        marks = in_one_order(mark(webhook, now=now) for webhook in published)
        # After a power failure they are published again, as after a death before this.
        await self._database.execute(_MARK_PUBLISHED, marks, durable=False)

    async def page(self, selection: Selection, *, after: Place | None, size: int) -> Page:
        selected = sa.select(*_SUMMARY).where(*_conditions(selection))
        statement = newest(selected, webhooks, after, size + 1, by="received_at")
        async with self._database.reading() as connection:
            found = [_summary(row) for row in await connection.execute(statement)]
        last = found[size - 1] if len(found) > size else None
        return Page(found[:size], (last.received_at, last.id) if last else None)

    async def records(self, with_bodies_of: str, *, after: Place | None, size: int) -> list[tuple[Webhook, bool]]:
        small = (webhooks.c.provider == with_bodies_of) & (sa.func.length(webhooks.c.body) <= _MAX_RECORDED_BODY)
        body = sa.case((small, webhooks.c.body), else_=None).label("recorded_body")
        statement = newest(sa.select(*_SUMMARY, body), webhooks, after, size, by="received_at")
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).all()
        return [(replace(_summary(row), body=row.recorded_body or b""), row.published_at is not None) for row in rows]

    async def replays(self, webhook_id: str) -> list[Replay]:
        columns = webhook_replays.c
        statement = sa.select(webhook_replays).where(columns.webhook_id == webhook_id).order_by(columns.number)
        return [item_of(Replay, row) for row in await self._database.rows(statement)]

    async def replay(self, webhook_ids: Sequence[str], *, by: str, reason: str, at: datetime) -> list[Webhook]:
        audit = {"at": at, "by": by, "reason": reason}
        return await self._database.write(lambda rows: _replay(rows, webhook_ids, audit))

    async def delete_expired(self, before: datetime, limit: int) -> int:
        return await self._database.write(lambda rows: _delete_expired(rows, before, limit))


def mark(webhook: Webhook, **values: object) -> dict[str, object]:
    """Parameters of a mark on a webhook as it was read."""
    return {"at": webhook.id, "replay": webhook.replays, **values}


def in_one_order(marks: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Marks of one transaction, sorted so that two processes cannot wait for each other in a circle."""
    return sorted(marks, key=itemgetter("at"))


def _replay(connection: sa.Connection, webhook_ids: Sequence[str], audit: Mapping[str, object]) -> list[Webhook]:
    chosen = sa.select(*_SUMMARY).where(webhooks.c.id.in_(webhook_ids)).order_by(webhooks.c.id).with_for_update()
    found = [_summary(row) for row in connection.execute(chosen)]
    if found:
        again = {"status": Status.RECEIVED, "error": "", "outcome": None, "published_at": None}
        anew = {**again, "replays": webhooks.c.replays + 1}
        ids = [webhook.id for webhook in found]
        connection.execute(sa.update(webhooks).where(webhooks.c.id.in_(ids)).values(anew))
        lines = [{"webhook_id": webhook.id, "number": webhook.replays + 1, **audit} for webhook in found]
        connection.execute(sa.insert(webhook_replays), lines)
    return found


def _delete_expired(connection: sa.Connection, before: datetime, limit: int) -> int:
    # The first condition follows from the last one, and is the one that has an index.
    over = (webhooks.c.received_at < before, webhooks.c.status == Status.PROCESSED, webhooks.c.published_at < before)
    oldest = sa.select(webhooks.c.id).where(*over).order_by(webhooks.c.received_at).limit(limit)
    # Locked, and what another transaction has locked left alone: it may just be replayed.
    ids = list(connection.scalars(oldest.with_for_update(skip_locked=True)))
    connection.execute(sa.delete(webhook_replays).where(webhook_replays.c.webhook_id.in_(ids)))
    connection.execute(sa.delete(webhooks).where(webhooks.c.id.in_(ids)))
    return len(ids)


def _conditions(selection: Selection) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if selection.provider:
        conditions.append(webhooks.c.provider == selection.provider)
    if selection.since:
        conditions.append(webhooks.c.received_at >= selection.since)
    if selection.until:
        conditions.append(webhooks.c.received_at < selection.until)
    if selection.failed:
        conditions.append(webhooks.c.status == Status.FAILED)
    return conditions


def _summary(row: Any) -> Webhook:
    """The webhook but for its body and headers."""
    outcome = Outcome(row.outcome) if row.outcome else None
    return item_of(Webhook, row, body=b"", headers={}, status=Status(row.status), outcome=outcome)
