"""Figures: a batch of the log adds to them, a report reads them, and their changes are published."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date
from typing import Any

import orjson
import sqlalchemy as sa
from google.protobuf.json_format import MessageToJson

from chassis import wall_clock
from chassis.broker.groups.consumer_group import Batch, ConsumerGroup, LeaseLost
from chassis.broker.outbox import Outbox
from chassis.broker.port import Event
from chassis.currency import from_minor
from chassis.database.database import Database, insert_or_add, insert_or_lock
from protos.shop.events.v1.events_pb2 import DaySales, SalesReported
from services.reports.domain import By, Ended, Fact, Figures, Line, Paid, Placed, Sale, added, figures_of, learned
from services.reports.ports import Coverage, Report, Row
from services.reports.sql_store.generations import MAX_DAYS_PUBLISHED, Generations
from services.reports.sql_store.tables import (
    SERVED,
    State,
    changed_days,
    figures,
    generations,
    group,
    group_of,
    orders,
    served_generation,
)

_EVENT = "report.sales"
_REPORT = "sales"
_partitions = group[0]
_columns = figures.c
_HERE = (orders.c.generation == sa.bindparam("of"), orders.c.order_id == sa.bindparam("order"))
_ORDER = sa.select(orders).where(*_HERE)
_LEARN = sa.update(orders).where(*_HERE)


class SqlSalesStore:
    def __init__(self, database: Database, consumers: ConsumerGroup, rebuilds: Generations, events: Outbox) -> None:
        self._database = database
        self._consumers = consumers
        self._generations = rebuilds
        self._events = events

    async def apply(self, batch: Batch, facts: Sequence[Fact]) -> None:
        """Add the facts to the generation of the batch's group, and store how far it was read. Raises `LeaseLost`."""
        generation = int(batch.group.removeprefix(group_of(0)[:-1]))

        def applying(connection: sa.Connection) -> None:
            self._consumers.commit(connection, batch)
            changes = added(_changes(connection, generation, fact) for fact in facts)
            _add(connection, generation, changes)
            state = connection.execute(sa.select(generations.c.state).where(generations.c.id == generation)).scalar()
            if state not in (*SERVED, State.BUILDING):
                raise LeaseLost(f"{batch.group} is over")
            if state == State.BUILDING:
                self._generations.advance(connection, generation)
            elif changes:
                _mark_changed(connection, {key.day for key in changes})

        # After a power failure the batch is read again: how far the log was read is undone with its effect.
        await self._database.write(applying, durable=False)

    async def sales(self, by: By, first: date, last: date, after: tuple[str, int, str] | None, size: int) -> Report:
        async with self._database.reading() as connection:
            rows = [_row(each, by) for each in await connection.execute(_page(by, first, last, after, size + 1))]
            served = (await connection.execute(sa.select(served_generation))).scalar() or 0
            of_served = _partitions.c.consumer_group == group_of(served)
            columns = _partitions.c
            times = sa.select(sa.func.min(columns.first_at), sa.func.max(columns.last_at), sa.func.max(columns.gap_at))
            covered = (await connection.execute(times.where(of_served))).one()
            unknown = await connection.scalar(
                sa.select(sa.func.coalesce(sa.func.sum(_columns.orders), 0)).where(*_within(By.UNKNOWN, first, last))
            )
        more = rows[size - 1] if len(rows) > size else None
        return Report(rows[:size], more, Coverage(*covered), int(unknown or 0))

    async def publish_changes(self) -> None:
        """Publish the days that have changed, with their figures; only the copy that leads does."""

        def publishing(connection: sa.Connection) -> None:
            marked = sa.select(changed_days.c.day).order_by(changed_days.c.day).with_for_update()
            days = connection.scalars(marked).all()
            if not days:
                return
            connection.execute(sa.delete(changed_days).where(changed_days.c.day.in_(days)))
            newest = sorted(days, reverse=True)[:MAX_DAYS_PUBLISHED]
            of_these = (*_within(By.DAY, newest[-1], newest[0]), _columns.day.in_(newest))
            rows = connection.execute(
                sa.select(figures).where(*of_these).order_by(_columns.day.desc(), _columns.currency)
            )
            self._events.add(connection, _event(rows.all()))

        if await self._database.read(self._has_to_publish):
            await self._database.write(publishing)

    def _has_to_publish(self, connection: sa.Connection) -> bool:
        if connection.execute(sa.select(changed_days).limit(1)).first() is None:
            return False
        served = connection.execute(sa.select(served_generation)).scalar()
        return served is not None and self._consumers.leads(connection, group_of(served))


def _changes(connection: sa.Connection, generation: int, fact: Fact) -> Figures:
    """The changes by a fact, none for a known one; stores what is known of its order."""
    here = {"of": generation, "order": fact.order_id}
    known = connection.execute(_ORDER, here).first()
    new: dict[str, object] = {}
    changes: Figures = {}
    match fact:
        case Placed() if known is None or not known.placed:
            new = {"placed": orjson.dumps(fact).decode()}
            changes = learned(Sale(known.paid_at, fact)) if known is not None and known.paid_at else {}
        case Paid(_, at) if known is None or known.paid_at is None:
            new = {"paid_at": at, "settled_at": wall_clock.now()}
            changes = figures_of(Sale(at, _placed(known.placed) if known is not None and known.placed else None))
        case Ended() if known is None or known.settled_at is None:
            new = {"settled_at": wall_clock.now()}
    if known is None:
        row = {"generation": generation, "order_id": fact.order_id, "placed": "", "paid_at": None, "settled_at": None}
        connection.execute(sa.insert(orders), row | new)
    elif new:
        connection.execute(_LEARN, here | new)
    return changes


def _placed(text: str) -> Placed:
    content = orjson.loads(text)
    return Placed(**content | {"lines": [Line(**line) for line in content["lines"]]})


def _add(connection: sa.Connection, generation: int, changes: Figures) -> None:
    if not changes:
        return
    rows = [
        {
            "generation": generation,
            "dimension": key.by,
            "day": key.day,
            "key": key.key,
            "currency": key.currency,
            "name": amounts.name,
            "orders": amounts.orders,
            "quantity": amounts.quantity,
            "revenue_minor": amounts.revenue,
        }
        for key, amounts in changes.items()
    ]
    adding = insert_or_add(connection, figures, _columns.orders, _columns.quantity, _columns.revenue_minor)
    connection.execute(adding, rows)


def _mark_changed(connection: sa.Connection, days: set[date]) -> None:
    """Have these days published, after this transaction has committed: also one that is to be published anyhow."""
    # Locked, so that a day is not published, and no longer marked, without what this transaction adds to it.
    connection.execute(insert_or_lock(connection, changed_days), [{"day": day} for day in sorted(days)])


def _within(by: By, first: date, last: date) -> tuple[Any, ...]:
    return (
        _columns.generation == served_generation,
        _columns.dimension == by,
        _columns.day >= first,
        _columns.day <= last,
    )


def _page(by: By, first: date, last: date, after: tuple[str, int, str] | None, size: int) -> sa.Select[Any]:
    if by is By.DAY:
        statement = sa.select(
            _columns.day, _columns.name, _columns.currency, _columns.orders, _columns.quantity, _columns.revenue_minor
        ).where(*_within(by, first, last))
        if after is not None:
            currency, _, day = after
            same = sa.and_(_columns.day == date.fromisoformat(day), _columns.currency > currency)
            statement = statement.where(sa.or_(_columns.day > date.fromisoformat(day), same))
        return statement.order_by(_columns.day, _columns.currency).limit(size)
    revenue = sa.func.sum(_columns.revenue_minor)
    statement = (
        sa.select(
            _columns.key,
            sa.func.max(_columns.name).label("name"),
            _columns.currency,
            sa.func.sum(_columns.orders).label("orders"),
            sa.func.sum(_columns.quantity).label("quantity"),
            revenue.label("revenue_minor"),
        )
        .where(*_within(by, first, last))
        .group_by(_columns.key, _columns.currency)
    )
    if after is not None:
        currency, amount, key = after
        same = _columns.currency == currency
        statement = statement.having(
            sa.or_(
                _columns.currency > currency,
                sa.and_(same, revenue < sa.literal(amount, sa.BigInteger)),
                sa.and_(same, revenue == sa.literal(amount, sa.BigInteger), _columns.key > key),
            )
        )
    return statement.order_by(_columns.currency, revenue.desc(), _columns.key).limit(size)


def _row(row: Any, by: By) -> Row:
    key = row.day.isoformat() if by is By.DAY else row.key
    return Row(key, row.name, row.currency, int(row.orders), int(row.quantity), int(row.revenue_minor))


def _event(rows: Sequence[sa.Row[Any]]) -> Event:
    days = [
        DaySales(
            day=row.day.isoformat(),
            currency=row.currency,
            orders=row.orders,
            quantity=row.quantity,
            revenue=str(from_minor(row.revenue_minor, row.currency)),
        )
        for row in rows
    ]
    payload = SalesReported(report=_REPORT, days=days)
    data = MessageToJson(payload, preserving_proto_field_name=True, indent=None).encode()
    return Event(uuid.uuid4().hex, _EVENT, "/reports", _REPORT, wall_clock.now(), data)
