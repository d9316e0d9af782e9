"""Orders in the service's own database. The outbox is never pruned: it is the orders' history too."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
import sqlalchemy as sa

from chassis import wall_clock
from chassis.broker.outbox import Outbox, outbox_table
from chassis.broker.port import Event
from chassis.currency import from_minor, to_minor
from chassis.database.database import Database, UtcTime, insert_missing, item_of, newest, row_of
from chassis.errors import not_found
from chassis.observability.tracing import note
from chassis.pagination import Place
from chassis.retention import MIGRATED, Kept, Retention
from services.orders.domain import Item, Order, OrderEvent, OrderPlaced, Outcome, Status
from services.orders.events import log_event, payload
from services.orders.ports import Backlog, HistoryEntry, Record

_WAITING = sa.text("status = 'pending' AND status_reason = '' AND NOT tried")
metadata = sa.MetaData()
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("status_reason", sa.Text, nullable=False),
    # Written once and read whole, so they are one value.
    sa.Column("items", sa.Text, nullable=False),
    sa.Column("total_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("placed_at", UtcTime, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("delivered", sa.Boolean, nullable=False),
    sa.Column("demo", sa.Boolean, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("refund_due", sa.Text, nullable=False, server_default=""),
    sa.Column("tried", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("orders_by_user", "user_id", "placed_at", "id"),
    sa.Index("orders_by_key", "user_id", "idempotency_key", unique=True),
    sa.Index("orders_waiting", "user_id", "placed_at", sqlite_where=_WAITING, postgresql_where=_WAITING),
)
outbox = outbox_table(metadata)
sa.Index("outbox_by_subject", outbox.c.subject, outbox.c.position)
RETENTION: Retention = {
    **MIGRATED,
    "orders": Kept("customers, the books and the audit read them"),
    "outbox": Kept("it is the orders' history too"),
}

_NEWEST_FIRST = (orders.c.placed_at.desc(), orders.c.id.desc())
_BY_ID = sa.select(orders).where(orders.c.id == sa.bindparam("id"))
_BY_IDS = sa.select(orders).where(orders.c.id.in_(sa.bindparam("ids", expanding=True)))
_LOCKED = _BY_ID.with_for_update()
_CHANGE = sa.update(orders).where(orders.c.id == sa.bindparam("at"))
_BY_KEY = sa.select(orders).where(
    orders.c.user_id == sa.bindparam("user"), orders.c.idempotency_key == sa.bindparam("key")
)
_HISTORY = sa.select(outbox).where(outbox.c.subject == sa.bindparam("order")).order_by(outbox.c.position)

_BACKLOG = (
    sa.select(orders.c.user_id, sa.func.count().label("waiting"), sa.func.min(orders.c.placed_at).label("oldest"))
    .where(_WAITING, orders.c.demo == sa.false())
    .group_by(orders.c.user_id)
)


class SqlOrderStore:
    def __init__(self, database: Database, events: Outbox) -> None:
        self._database = database
        self._events = events

    async def add(self, order: Order, placed: OrderPlaced, *, key: str, fingerprint: str) -> tuple[Order, str]:
        row = _row(order) | {"idempotency_key": key or None, "fingerprint": fingerprint, "demo": False}

        def adding(connection: sa.Connection) -> tuple[Order, str]:
            if connection.execute(insert_missing(connection, orders), row).rowcount == 0:
                note("idempotent_replay")
                known = connection.execute(_BY_KEY, {"user": order.user_id, "key": key}).one()
                return _order(known), known.fingerprint
            self._record(connection, order, placed)
            return order, fingerprint

        found, known_fingerprint = await self._database.write(adding, group_commit=True)
        if found.id == order.id:
            log_event(order, placed)
        return found, known_fingerprint

    async def by_key(self, user_id: str, key: str) -> tuple[Order, str] | None:
        row = await self._database.row(_BY_KEY, {"user": user_id, "key": key})
        if row is None:
            return None
        note("idempotent_replay")
        return _order(row), row.fingerprint

    async def get(self, order_id: str) -> Order | None:
        row = await self._database.row(_BY_ID, {"id": order_id})
        return _order(row) if row else None

    async def by_ids(self, order_ids: Sequence[str]) -> list[Order]:
        return [_order(row) for row in await self._database.rows(_BY_IDS, {"ids": list(order_ids)})]

    async def page(self, user_id: str, *, before: Place | None, size: int) -> list[Order]:
        theirs = sa.select(orders).where(orders.c.user_id == user_id)
        statement = newest(theirs, orders, before, size, by="placed_at")
        return [_order(row) for row in await self._database.rows(statement)]

    async def newest_of(self, user_ids: Sequence[str], *, each: int) -> list[Order]:
        rank = sa.func.row_number().over(partition_by=orders.c.user_id, order_by=_NEWEST_FIRST).label("rank")
        ranked = sa.select(orders, rank).where(orders.c.user_id.in_(user_ids)).subquery()
        newest_first = (ranked.c.placed_at.desc(), ranked.c.id.desc())
        statement = sa.select(ranked).where(ranked.c.rank <= each).order_by(*newest_first)
        return [_order(row) for row in await self._database.rows(statement)]

    async def change(self, order_id: str, decide: Callable[[Order], Outcome]) -> Order:
        def changing(connection: sa.Connection) -> Outcome:
            row = connection.execute(_LOCKED, {"id": order_id}).one_or_none()
            if row is None:
                raise not_found("order", order_id)
            known = _order(row)
            order, happened = decide(known)
            if order is not known:
                connection.execute(_CHANGE, _row(order) | {"at": order_id})
            if happened is not None:
                self._record(connection, order, happened)
            return order, happened

        order, happened = await self._database.write(changing)
        if happened is not None:
            log_event(order, happened)
        return order

    async def history(self, order_id: str) -> list[HistoryEntry]:
        return [_entry(row) for row in await self._database.rows(_HISTORY, {"order": order_id})]

    async def backlog(self) -> Backlog:
        rows = await self._database.rows(_BACKLOG)
        return Backlog({row.user_id: row.waiting for row in rows}, min((row.oldest for row in rows), default=None))

    async def records(self, *, after: Place | None, size: int) -> list[Record]:
        place = (orders.c.placed_at, orders.c.id)
        statement = sa.select(orders).order_by(*place).limit(size)
        if after is not None:
            statement = statement.where(sa.tuple_(*place) > sa.tuple_(*after, types=[UtcTime, sa.Text]))
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).all()
            ids = [row.id for row in rows]
            of_these = sa.select(outbox).where(outbox.c.subject.in_(ids)).order_by(outbox.c.position)
            events = (await connection.execute(of_these)).all()
        histories: dict[str, list[Any]] = defaultdict(list)
        for event in events:
            histories[event.subject].append(event)
        return [
            Record(
                order=_order(row),
                history=[_entry(event) for event in histories[row.id]],
                unpublished=sum(event.published_at is None for event in histories[row.id]),
                demo=row.demo,
            )
            for row in rows
        ]

    async def add_demo(self, demo: Sequence[tuple[Order, Sequence[tuple[datetime, OrderEvent]]]]) -> None:
        """Add orders with their finished history, unless they are there; their events are not published."""

        def adding(connection: sa.Connection) -> None:
            for order, history in demo:
                row = _row(order) | {"idempotency_key": None, "fingerprint": "", "demo": True}
                if connection.execute(insert_missing(connection, orders), row).rowcount == 1:
                    events = [_event(order, what, number, time) for number, (time, what) in enumerate(history, start=1)]
                    connection.execute(outbox.insert(), [_published(event) for event in events])

        await self._database.write(adding)

    def _record(self, connection: sa.Connection, order: Order, happened: OrderEvent) -> None:
        self._events.add(connection, _event(order, happened, order.version, wall_clock.now()))


def _event(order: Order, happened: OrderEvent, sequence: int, time: datetime) -> Event:
    extensions = {"userid": order.user_id, "sequence": str(sequence)}
    return Event(uuid.uuid4().hex, happened.type, "/orders", order.id, time, payload(order, happened), extensions)


def _published(event: Event) -> dict[str, object]:
    extensions = json.dumps(dict(event.extensions))
    return row_of(event, outbox, event_id=event.id, extensions=extensions, published_at=event.time)


def _entry(row: Any) -> HistoryEntry:
    sequence = int(json.loads(row.extensions)["sequence"])
    return HistoryEntry(row.event_id, row.type, sequence, row.time, row.data.decode())


def _row(order: Order) -> dict[str, Any]:
    items = [(item.product_id, item.name, item.quantity, str(item.unit_price)) for item in order.items]
    total_minor = to_minor(order.total, order.currency)
    return row_of(order, orders, status=order.status.value, items=orjson.dumps(items).decode(), total_minor=total_minor)


def _order(row: Any) -> Order:
    items = [
        Item(product_id, name, quantity, Decimal(price))
        for product_id, name, quantity, price in orjson.loads(row.items)
    ]
    total = from_minor(row.total_minor, row.currency)
    return item_of(Order, row, status=Status(row.status), items=items, total=total)
