"""Reservations wanted at the same time in one transaction, with a handful of statements however many there are.

An adapter of `StockStore` beside `SqlStockStore`, which does all the rest; both are held to the same contract suite.
`make bench-internal` holds it to 0.6 of the rate of bare updates of the same figures.

The rows of the products are locked, in the order of their ids, so what is read is what is there; the first caller is
served first. The guard of the update and the table's own constraint say the same once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, delete, select, update

from chassis.broker.outbox import Outbox
from chassis.broker.port import Event
from chassis.database.batching import Batcher
from chassis.database.database import Database, insert_missing
from chassis.errors import ShopError
from chassis.observability.tracing import current_traceparent
from services.inventory.domain import Line, Reservation, State, order_closed, out_of_stock
from services.inventory.sql_store import CHANGE_STATE, SqlStockStore
from services.inventory.sql_store.rows import read_reservation, reservation_row, stock_changed
from services.inventory.sql_store.tables import reservations, stock

_KNOWN = (
    select(reservations)
    .where(reservations.c.order_id.in_(bindparam("orders", expanding=True)))
    .order_by(reservations.c.order_id)
    .with_for_update()
)
_FIGURES = (
    select(stock.c.product_id, stock.c.available, stock.c.reserved, stock.c.shipped)
    .where(stock.c.product_id.in_(bindparam("products", expanding=True)))
    .order_by(stock.c.product_id)
    .with_for_update()
)
_pieces = bindparam("pieces", type_=BigInteger)
_TAKE = (
    update(stock)
    .where(stock.c.product_id == bindparam("product"), stock.c.available >= _pieces)
    .values(available=stock.c.available - _pieces, reserved=stock.c.reserved + _pieces)
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The lines that an order reserves, one per product."""

    order_id: str
    lines: Sequence[Line]
    expires_at: datetime | None
    # Several orders' reservations are one transaction, and each belongs to its own trace.
    traceparent: str | None


class BatchingStockStore(SqlStockStore):
    def __init__(self, database: Database, events: Outbox) -> None:
        super().__init__(database, events)
        self._batcher = Batcher(self._reserve_together)

    async def reserve(self, order_id: str, lines: Sequence[Line], expires_at: datetime | None = None) -> None:
        await self._batcher.submit(Wanted(order_id, lines, expires_at, current_traceparent()))

    async def _reserve_together(self, wanted: Sequence[Wanted]) -> Sequence[ShopError | None]:
        # Not durable, for the reason that `SqlStockStore.reserve` gives.
        return await self._database.write(
            lambda connection: _reserve_all(connection, self._events, wanted), durable=False
        )


def _reserve_all(connection: Connection, events: Outbox, wanted: Sequence[Wanted]) -> list[ShopError | None]:
    """Reserve what can be reserved, each order all or nothing; returns each order's refusal, or None."""
    by_order: dict[str, Wanted] = {}
    for each in wanted:
        by_order.setdefault(each.order_id, each)
    new = _record(connection, by_order)
    known = _known(connection, by_order.keys() - new)
    expired = {key for key, reservation in known.items() if reservation.expired}
    outcomes = {key: _again(reservation) for key, reservation in known.items() if key not in expired}
    outcomes |= _take(connection, events, [by_order[key] for key in by_order if key in new | expired])
    anew = [by_order[key] for key in expired if outcomes[key] is None]
    renewed = [by_order[key] for key, reservation in known.items() if reservation.renewed_by(by_order[key].expires_at)]
    _hold(connection, [*anew, *renewed])
    return [outcomes[each.order_id] for each in wanted]


def _record(connection: Connection, wanted: Mapping[str, Wanted]) -> set[str]:
    """Record the reservations; returns those orders that had none."""
    # In the order of the ids, so that two processes with the same orders cannot wait for each other in a circle.
    rows = [reservation_row(key, State.HELD, wanted[key].lines, wanted[key].expires_at) for key in sorted(wanted)]
    added = insert_missing(connection, reservations, reservations.c.order_id)
    return set(connection.scalars(added, rows))


def _known(connection: Connection, order_ids: set[str]) -> dict[str, Reservation]:
    if not order_ids:
        return {}
    rows = connection.execute(_KNOWN, {"orders": sorted(order_ids)})
    return {row.order_id: read_reservation(row) for row in rows}


def _again(known: Reservation) -> ShopError | None:
    """The answer to an order that has reserved before, and whose reservation has not expired."""
    return order_closed(known.order_id) if known.state is State.RELEASED else None


def _hold(connection: Connection, wanted: Sequence[Wanted]) -> None:
    """Let known reservations be held until another time."""
    if wanted:
        rows = [reservation_row(each.order_id, State.HELD, each.lines, each.expires_at) for each in wanted]
        connection.execute(CHANGE_STATE, [{**row, "order": row["order_id"]} for row in rows])


def _take(connection: Connection, events: Outbox, wanted: Sequence[Wanted]) -> dict[str, ShopError | None]:
    """Reserve each order's lines while stock lasts; take back the new record of one that gets nothing."""
    if not wanted:
        return {}
    products = sorted({line.product_id for each in wanted for line in each.lines})
    figures = {row.product_id: row for row in connection.execute(_FIGURES, {"products": products})}
    taken, outcomes = _shared_out(wanted, {key: row.available for key, row in figures.items()})
    refused = [key for key, refusal in outcomes.items() if refusal is not None]
    if refused:
        held = reservations.c.state == State.HELD.value
        connection.execute(delete(reservations).where(held, reservations.c.order_id.in_(refused)))
    if taken:
        connection.execute(_TAKE, [{"product": key, "pieces": taken[key]} for key in sorted(taken)])
        # Where several orders take of one product, its event belongs to the first one's trace.
        traces = {line.product_id: each.traceparent for each in reversed(wanted) for line in each.lines}
        events.add(connection, *(_changed(figures[key], taken[key], traces[key]) for key in sorted(taken)))
    return outcomes


def _shared_out(
    wanted: Sequence[Wanted], available: dict[str, int]
) -> tuple[dict[str, int], dict[str, ShopError | None]]:
    """Pieces taken by product, and each order's refusal or None; earlier orders have precedence."""
    taken: dict[str, int] = {}
    outcomes: dict[str, ShopError | None] = {}
    for each in wanted:
        short = [line.product_id for line in each.lines if available.get(line.product_id, 0) < line.quantity]
        outcomes[each.order_id] = out_of_stock(short) if short else None
        if not short:
            for line in each.lines:
                available[line.product_id] -= line.quantity
                taken[line.product_id] = taken.get(line.product_id, 0) + line.quantity
    return taken, outcomes


def _changed(row: Any, pieces: int, traceparent: str | None) -> Event:
    event = stock_changed(row.product_id, row.available - pieces, row.reserved + pieces, row.shipped)
    return replace(event, extensions={"traceparent": traceparent}) if traceparent else event
