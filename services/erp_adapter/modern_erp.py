"""The Erp port without the legacy system: the same behaviour, in this process, durable in its own database.

What `SHOP_ERP=modern` puts behind the adapter. It uses our product ids and needs no translation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Date, Integer, MetaData, Table, Text, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import wall_clock
from chassis.currency import from_minor, to_minor
from chassis.database.database import Database, insert_missing
from chassis.errors import Kind, ShopError, invalid, not_found
from chassis.retention import MIGRATED, Kept, Retention
from services.erp_adapter import domain

# In minor units of whatever currency, which is how the legacy system counts it.
CREDIT_LIMIT = 1_000_000

metadata = MetaData()
articles = Table(
    "articles",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("on_hand", BigInteger, nullable=False),
)
sales_orders = Table(
    "sales_orders",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("order_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    # The order as it was registered, to distinguish a repeat from another order; empty for one cancelled before it
    # came.
    Column("content", Text, nullable=False),
    Column("ships_on", Date),
    sqlite_autoincrement=True,
)
receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
)
RETENTION: Retention = {
    **MIGRATED,
    "articles": Kept("one row for each product"),
    "sales_orders": Kept("the books: orders are looked up and repeats recognized after any time"),
    "receipts": Kept("the books: a receipt that comes again must count once"),
}

_MOVE = (
    update(articles)
    .where(articles.c.product_id == bindparam("product"))
    .values(on_hand=articles.c.on_hand + bindparam("pieces", type_=BigInteger))
)
_POSITION = re.compile(r"[0-9]{10}")


class ModernErp:
    """Implements `ports.Erp`. `now` is the clock."""

    def __init__(self, database: Database, now: Callable[[], datetime] = wall_clock.now) -> None:
        self._database = database
        self._now = now

    async def add_missing(self, stock: Mapping[str, int]) -> None:
        """Stock the products that were never stocked."""
        async with self._database.transaction() as connection:
            await self._create_articles(connection, stock)

    async def stock_levels(self, product_ids: Sequence[str]) -> list[domain.StockLevel]:
        for product_id in product_ids:
            domain.check_reference("product_ids", product_id)
        async with self._database.reading() as connection:
            rows = await connection.execute(select(articles).where(articles.c.product_id.in_(product_ids)))
            return [domain.StockLevel(row.product_id, row.on_hand, self._now()) for row in rows]

    async def register(self, order: domain.NewSalesOrder) -> str:
        content = _content(order)
        async with self._database.transaction() as connection:
            known = await self._locked(connection, order.order_id)
            if known is None:
                prices = [item.quantity * to_minor(item.unit_price, order.currency) for item in order.items]
                if sum(prices) > CREDIT_LIMIT:
                    raise _refused("CREDIT_LIMIT_EXCEEDED", "the order is over the credit limit")
                await self._create_articles(connection, {item.product_id: 0 for item in order.items})
                row = {"order_id": order.order_id, "state": domain.OrderState.OPEN.value, "content": content}
                await connection.execute(insert_missing(connection, sales_orders), row)
                # Ours, or that of a process that was a moment earlier.
                known = await self._locked(connection, order.order_id)
            if known.state == domain.OrderState.CANCELLED:
                raise _cancelled(order.order_id)
            if known.content != content:
                raise _reused(order.order_id)
            return _number(known.number)

    async def cancel(self, order_id: str) -> None:
        cancelled = domain.OrderState.CANCELLED.value
        row = {"order_id": domain.check_reference("order_id", order_id), "state": cancelled, "content": ""}
        async with self._database.transaction() as connection:
            # One that has not arrived yet is noted as cancelled, lest it arrive later.
            await connection.execute(insert_missing(connection, sales_orders), row)
            known = await self._locked(connection, order_id)
            if known.state == domain.OrderState.SHIPPED:
                raise _refused("ORDER_SHIPPED", f"the order has been shipped: {order_id}")
            await self._change(connection, order_id, state=cancelled)

    async def ship(self, order_id: str) -> domain.Shipment:
        domain.check_reference("order_id", order_id)
        async with self._database.transaction() as connection:
            known = await self._locked(connection, order_id)
            if known is None:
                raise not_found("sales order", order_id)
            if known.state == domain.OrderState.CANCELLED:
                raise _cancelled(order_id)
            ships_on = known.ships_on
            if known.state == domain.OrderState.OPEN:
                ships_on = self._now().date() + timedelta(days=1)
                await connection.execute(_MOVE, _outgoing(known.content))
                await self._change(connection, order_id, state=domain.OrderState.SHIPPED.value, ships_on=ships_on)
            return self._shipment(order_id, known.number, ships_on)

    async def shipment(self, order_id: str) -> domain.Shipment:
        domain.check_reference("order_id", order_id)
        row = await self._database.row(select(sales_orders).where(sales_orders.c.order_id == order_id))
        if row is None or row.ships_on is None:
            raise not_found("shipment of an order", order_id)
        return self._shipment(order_id, row.number, row.ships_on)

    async def post_receipt(self, receipt: domain.GoodsReceipt) -> None:
        domain.check_quantity(abs(receipt.quantity))
        row = {
            "receipt_id": domain.check_reference("receipt_id", receipt.receipt_id),
            "product_id": domain.check_reference("product_id", receipt.product_id),
            "quantity": receipt.quantity,
        }
        async with self._database.transaction() as connection:
            added = await connection.execute(insert_missing(connection, receipts), row)
            if added.rowcount == 1:
                await self._create_articles(connection, {receipt.product_id: 0})
                await connection.execute(_MOVE, {"product": receipt.product_id, "pieces": receipt.quantity})
                return
            posted = select(receipts).where(receipts.c.receipt_id == receipt.receipt_id)
            known = (await connection.execute(posted)).one()
            if (known.product_id, known.quantity) != (receipt.product_id, receipt.quantity):
                raise _reused(receipt.receipt_id)

    async def sales_orders(self, after: str, limit: int) -> tuple[list[domain.SalesOrder], str]:
        if after and not _POSITION.fullmatch(after):
            raise invalid("invalid cursor", cursor="take it from next_cursor")
        later = sales_orders.c.number > int(after or 0)
        statement = select(sales_orders).where(later).order_by(sales_orders.c.number).limit(limit + 1)
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).all()
        found = [_sales_order(row) for row in rows[:limit]]
        return found, found[-1].number if len(rows) > limit else ""

    def _shipment(self, order_id: str, number: int, ships_on: date) -> domain.Shipment:
        # An order has one shipment at most, so it may have the order's number.
        return domain.Shipment(order_id, _number(number), domain.shipment_state(ships_on, self._now().date()), ships_on)

    async def _locked(self, connection: AsyncConnection, order_id: str) -> Any:
        statement = select(sales_orders).where(sales_orders.c.order_id == order_id).with_for_update()
        return (await connection.execute(statement)).one_or_none()

    async def _change(self, connection: AsyncConnection, order_id: str, **values: object) -> None:
        await connection.execute(update(sales_orders).where(sales_orders.c.order_id == order_id).values(**values))

    async def _create_articles(self, connection: AsyncConnection, stock: Mapping[str, int]) -> None:
        """Our catalogue decides what is sold; a new product becomes known with its first order or receipt."""
        rows = [{"product_id": product_id, "on_hand": stock[product_id]} for product_id in sorted(stock)]
        if rows:
            await connection.execute(insert_missing(connection, articles), rows)


def _content(order: domain.NewSalesOrder) -> str:
    """The fingerprint that recognizes a repeated request. Raises INVALID_INPUT for values outside every ERP's range."""
    domain.check_reference("order_id", order.order_id)
    domain.check_order(order)
    lines = [
        [
            domain.check_reference("product_id", item.product_id),
            domain.check_quantity(item.quantity),
            domain.check_cents(item.unit_price, order.currency),
        ]
        for item in order.items
    ]
    customer = domain.check_reference("customer_id", order.customer_id)
    return json.dumps({"customer": customer, "currency": order.currency, "lines": lines})


def _sales_order(row: Any) -> domain.SalesOrder:
    number = _number(row.number)
    content: dict[str, Any] = json.loads(row.content) if row.content else {"customer": "", "currency": "", "lines": []}
    return domain.SalesOrder(
        row.order_id,
        number,
        domain.OrderState(row.state),
        shipments=0 if row.ships_on is None else 1,
        customer_id=content["customer"],
        currency=content["currency"],
        items=[
            domain.Item(product, pieces, from_minor(cents, content["currency"]))
            for product, pieces, cents in content["lines"]
        ],
        shipment_numbers=() if row.ships_on is None else (number,),
    )


def _outgoing(content: str) -> list[dict[str, Any]]:
    """Stock movements of an order; products in one order, so that two shipments cannot wait in a circle."""
    return [{"product": product, "pieces": -pieces} for product, pieces, _ in sorted(json.loads(content)["lines"])]


def _number(number: int) -> str:
    return f"{number:010d}"


def _refused(code: str, message: str) -> ShopError:
    return ShopError(code, message, Kind.PRECONDITION)


def _cancelled(order_id: str) -> ShopError:
    return _refused("ORDER_CANCELLED", f"the order has been cancelled: {order_id}")


def _reused(identifier: str) -> ShopError:
    return _refused("REFERENCE_REUSED", f"the ERP has this id for something else: {identifier}")
