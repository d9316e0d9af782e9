"""Stock and reservations in the service's own database.

The database itself refuses to oversell, whatever runs at the same time: figures change by guarded updates of locked
rows, `available - n WHERE available >= n`, and may not fall below zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, select, tuple_, update

from chassis import wall_clock
from chassis.broker.outbox import Outbox
from chassis.broker.port import Event
from chassis.database.database import Database, insert_missing, item_of, row_of
from services.inventory.domain import (
    Adjustment,
    Line,
    Reservation,
    State,
    Stock,
    not_held,
    order_closed,
    out_of_stock,
    reference_reused,
    reservation_expired,
)
from services.inventory.sql_store.rows import read_reservation, reservation_row, stock_changed
from services.inventory.sql_store.tables import HELD, UNBOOKED, adjustments, outbox, reservations, stock

__all__ = ["SqlStockStore", "outbox"]

_FIGURES = (stock.c.available, stock.c.reserved, stock.c.shipped)


def _move(**changes: Any) -> Any:
    """An update of one product's figures by `quantity`, answering the new ones."""
    return update(stock).where(stock.c.product_id == bindparam("product")).values(changes).returning(*_FIGURES)


_quantity = bindparam("quantity", type_=BigInteger)
_RESERVE = _move(available=stock.c.available - _quantity, reserved=stock.c.reserved + _quantity).where(
    stock.c.available >= _quantity
)
_RELEASE = _move(available=stock.c.available + _quantity, reserved=stock.c.reserved - _quantity)
_SHIP = _move(reserved=stock.c.reserved - _quantity, shipped=stock.c.shipped + _quantity)
_ADJUST = _move(
    received=stock.c.received + _quantity,
    available=stock.c.available + _quantity,
    erp_on_hand=stock.c.erp_on_hand + _quantity,
).where(stock.c.available + _quantity >= 0)

_LOCKED = select(reservations).where(reservations.c.order_id == bindparam("order")).with_for_update()
CHANGE_STATE = update(reservations).where(reservations.c.order_id == bindparam("order"))
_STOCK_OF = select(stock).where(stock.c.product_id.in_(bindparam("products", expanding=True)))
_NOTE_ERP_LEVEL = (
    update(stock)
    .where(stock.c.product_id == bindparam("product"))
    .values(erp_on_hand=bindparam("level"), erp_as_of=bindparam("as_of"))
)


class SqlStockStore:
    """Store whose every call is a transaction of its own; the shop runs the one in `batching.py`."""

    def __init__(self, database: Database, events: Outbox) -> None:
        self._database = database
        self._events = events

    async def stock(self, product_ids: Sequence[str]) -> dict[str, Stock]:
        rows = await self._database.rows(_STOCK_OF, {"products": list(product_ids)})
        return {row.product_id: item_of(Stock, row) for row in rows}

    async def reserve(self, order_id: str, lines: Sequence[Line], expires_at: datetime | None = None) -> None:
        row = reservation_row(order_id, State.HELD, lines, expires_at)

        def reserving(connection: Connection) -> None:
            added = connection.execute(insert_missing(connection, reservations), row)
            known = None if added.rowcount == 1 else _locked(connection, order_id)
            if known is None or known.expired:
                refused = self._move_all(connection, _RESERVE, lines)
                if refused:
                    raise out_of_stock(refused)
            elif known.state is State.RELEASED:
                raise order_closed(order_id)
            if known is not None and (known.expired or known.renewed_by(expires_at)):
                connection.execute(CHANGE_STATE, {**row, "order": order_id})

        # Not durable: until Confirm or Release, whose durable commit includes all before it, the saga repeats the
        # reservation.
        await self._database.write(reserving, durable=False)

    async def confirm(self, order_id: str) -> None:
        def confirming(connection: Connection) -> None:
            known = _locked(connection, order_id)
            if known is None or known.state is State.RELEASED:
                raise reservation_expired(order_id) if known and known.expired else not_held(order_id, State.RELEASED)
            if known.expires_at is not None:
                _change_state(connection, order_id, known.state)

        await self._database.write(confirming)

    async def shorten_waits(self, latest: datetime) -> None:
        later = update(reservations).where(HELD, reservations.c.expires_at > latest).values(expires_at=latest)
        await self._database.write(lambda connection: connection.execute(later))

    async def expired(self, now: datetime, limit: int) -> list[str]:
        statement = select(reservations.c.order_id).where(HELD, reservations.c.expires_at <= now).limit(limit)
        return list(await self._database.read(lambda connection: connection.scalars(statement).all()))

    async def expire(self, order_id: str, now: datetime) -> bool:
        def expiring(connection: Connection) -> bool:
            known = _locked(connection, order_id)
            if known is None or known.state is not State.HELD or known.expires_at is None or known.expires_at > now:
                return False
            self._move_all(connection, _RELEASE, known.lines)
            _change_state(connection, order_id, State.RELEASED, known.expires_at)
            return True

        return await self._database.write(expiring)

    async def release(self, order_id: str) -> None:
        def releasing(connection: Connection) -> None:
            # Recorded even if nothing is held, so that a late reservation is refused.
            row = reservation_row(order_id, State.RELEASED, [], None)
            added = connection.execute(insert_missing(connection, reservations), row)
            known = None if added.rowcount == 1 else _locked(connection, order_id)
            if known is None:
                return
            if known.state is State.HELD:
                self._move_all(connection, _RELEASE, known.lines)
                _change_state(connection, order_id, State.RELEASED)
            elif known.expired:
                _change_state(connection, order_id, State.RELEASED)  # final now: it cannot be reserved anew
            elif known.state is State.SHIPPED:
                raise not_held(order_id, known.state)

        await self._database.write(releasing)

    async def ship(self, order_id: str) -> None:
        def shipping(connection: Connection) -> None:
            known = _locked(connection, order_id)
            if known is not None and known.state is State.SHIPPED:
                return
            if known is None or known.state is not State.HELD:
                raise not_held(order_id, known.state if known else State.RELEASED)
            self._move_all(connection, _SHIP, known.lines)
            _change_state(connection, order_id, State.SHIPPED)

        await self._database.write(shipping)

    async def adjust(self, adjustment: Adjustment) -> Stock:
        product_id, line = adjustment.product_id, Line(adjustment.product_id, adjustment.quantity)
        row = row_of(adjustment, adjustments)

        def adjusting(connection: Connection) -> Stock:
            if connection.execute(insert_missing(connection, adjustments), row).rowcount == 1:
                _add_missing(connection, {product_id: 0})
                refused = self._move_all(connection, _ADJUST, [line])
                if refused:
                    raise out_of_stock(refused)
            else:
                known = connection.execute(select(adjustments).where(adjustments.c.id == adjustment.id)).one()
                if (known.product_id, known.quantity) != (product_id, line.quantity):
                    raise reference_reused(adjustment.id)
            return item_of(Stock, connection.execute(_STOCK_OF, {"products": [product_id]}).one())

        return await self._database.write(adjusting)

    async def unbooked(self, limit: int, *, after: Adjustment | None = None) -> list[Adjustment]:
        counted = (adjustments.c.counted_at, adjustments.c.id)
        statement = select(adjustments).where(UNBOOKED).order_by(*counted).limit(limit)
        if after is not None:
            last = tuple_(after.counted_at, after.id, types=[column.type for column in counted])
            statement = statement.where(tuple_(*counted) > last)
        return [item_of(Adjustment, row) for row in await self._database.rows(statement)]

    async def note_booked(self, adjustment_ids: Sequence[str]) -> None:
        statement = update(adjustments).where(adjustments.c.id.in_(adjustment_ids)).values(booked_at=wall_clock.now())
        await self._database.write(lambda connection: connection.execute(statement))

    async def note_erp_levels(self, levels: Mapping[str, int], as_of: datetime) -> None:
        rows = [{"product": product_id, "level": levels[product_id], "as_of": as_of} for product_id in sorted(levels)]
        await self._database.write(lambda connection: connection.execute(_NOTE_ERP_LEVEL, rows))

    async def reservations_page(self, after: str, size: int) -> list[Reservation]:
        statement = (
            select(reservations).where(reservations.c.order_id > after).order_by(reservations.c.order_id).limit(size)
        )
        async with self._database.reading() as connection:
            return [read_reservation(row) for row in await connection.execute(statement)]

    async def stock_page(self, after: str, size: int) -> list[Stock]:
        statement = select(stock).where(stock.c.product_id > after).order_by(stock.c.product_id).limit(size)
        async with self._database.reading() as connection:
            return [item_of(Stock, row) for row in await connection.execute(statement)]

    async def add_missing(self, received: Mapping[str, int]) -> None:
        """Stock the products that were never stocked."""
        await self._database.write(lambda connection: _add_missing(connection, received))

    def _move_all(self, connection: Connection, statement: Any, lines: Sequence[Line]) -> list[str]:
        """Move each line's quantity and write its `stock.changed`. Returns the products for which it was refused."""
        refused: list[str] = []
        events: list[Event] = []
        for line in lines:
            quantity = {"product": line.product_id, "quantity": line.quantity}
            moved = connection.execute(statement, quantity).one_or_none()
            if moved is None:
                refused.append(line.product_id)
            else:
                events.append(stock_changed(line.product_id, *moved))
        if events and not refused:
            self._events.add(connection, *events)
        return refused


def _add_missing(connection: Connection, received: Mapping[str, int]) -> None:
    now = wall_clock.now()
    rows = [
        {
            "product_id": key,
            "received": count,
            "available": count,
            "reserved": 0,
            "shipped": 0,
            "erp_on_hand": count,
            "erp_as_of": now,
        }
        for key, count in sorted(received.items())
    ]
    connection.execute(insert_missing(connection, stock), rows)


def _locked(connection: Connection, order_id: str) -> Reservation | None:
    row = connection.execute(_LOCKED, {"order": order_id}).one_or_none()
    return read_reservation(row) if row else None


def _change_state(connection: Connection, order_id: str, state: State, expires_at: datetime | None = None) -> None:
    values = {"state": state.value, "changed_at": wall_clock.now(), "expires_at": expires_at}
    connection.execute(CHANGE_STATE, values | {"order": order_id})
