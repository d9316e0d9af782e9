"""Products in the service's own database; every change writes `product.changed` into the outbox with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.json_format import MessageToJson

from chassis import wall_clock
from chassis.broker.inbox import INBOX_RETENTION, Inbox, inbox_table
from chassis.broker.outbox import OUTBOX_RETENTION, Outbox, outbox_table
from chassis.broker.port import Event
from chassis.currency import from_minor, to_minor
from chassis.database.database import Database, UtcTime, item_of, row_of
from chassis.errors import not_found
from chassis.retention import MIGRATED, Kept, Retention
from protos.shop.events.v1.events_pb2 import ProductChanged
from services.catalog.domain import Product

metadata = sa.MetaData()
products = sa.Table(
    "products",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("price_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("image_url", sa.Text, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
)
outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
RETENTION: Retention = {
    **MIGRATED,
    "products": Kept("a deleted product's row keeps its version for a later write; an administrator adds each one"),
    "outbox": OUTBOX_RETENTION,
    "inbox": INBOX_RETENTION,
}

_LIVE = sa.select(products).where(products.c.deleted.is_(False))
_BY_IDS = _LIVE.where(products.c.id.in_(sa.bindparam("ids", expanding=True)))


class SqlProductStore:
    def __init__(self, database: Database, events: Outbox) -> None:
        self._database = database
        self._events = events
        self._inbox = Inbox(inbox)

    async def by_ids(self, ids: Sequence[str]) -> dict[str, Product]:
        rows = await self._database.rows(_BY_IDS, {"ids": list(ids)})
        return {row.id: _product(row) for row in rows}

    async def page(self, *, category: str, query: str, after: str, size: int) -> list[Product]:
        statement = _LIVE.where(products.c.id > after).order_by(products.c.id).limit(size)
        if category:
            statement = statement.where(products.c.category == category)
        text = sa.func.lower(products.c.name + " " + products.c.description)
        for word in query.lower().split():
            statement = statement.where(text.contains(word, autoescape=True))
        async with self._database.reading() as connection:
            return [_product(row) for row in await connection.execute(statement)]

    async def add(self, product: Product) -> None:
        def adding(connection: sa.Connection) -> None:
            connection.execute(sa.insert(products), _row(product))
            self._events.add(connection, _changed_event(product))

        await self._database.write(adding)

    async def add_missing(self, demo: Sequence[Product]) -> None:
        """Add those whose id was never there; deleted ones stay deleted."""
        await self._database.add_missing(products, [_row(product) for product in demo])

    async def change(self, product_id: str, change: Callable[[Product], Product]) -> Product:
        return await self._database.write(lambda connection: self._change(connection, product_id, change))

    async def change_once(self, event_id: str, product_id: str, change: Callable[[Product], Product]) -> Product:
        def changing(connection: sa.Connection) -> Product:
            if self._inbox.first_time(connection, "refresh-material", event_id):
                return self._change(connection, product_id, change)
            return _locked(connection, product_id)

        return await self._database.write(changing)

    def _change(self, connection: sa.Connection, product_id: str, change: Callable[[Product], Product]) -> Product:
        product = change(_locked(connection, product_id))
        connection.execute(sa.update(products).where(products.c.id == product_id).values(_row(product)))
        self._events.add(connection, _changed_event(product))
        return product

    async def delete(self, product_id: str, check: Callable[[Product], None]) -> None:
        def deleting(connection: sa.Connection) -> None:
            product = _locked(connection, product_id)
            check(product)
            connection.execute(sa.update(products).where(products.c.id == product_id).values(deleted=True))
            self._events.add(connection, _changed_event(product, deleted=True))

        await self._database.write(deleting)


def _locked(connection: sa.Connection, product_id: str) -> Product:
    row = connection.execute(_LIVE.where(products.c.id == product_id).with_for_update()).one_or_none()
    if row is None:
        raise not_found("product", product_id)
    return _product(row)


def _changed_event(product: Product, *, deleted: bool = False) -> Event:
    payload = ProductChanged(product_id=product.id, version=product.version, deleted=deleted)
    data = MessageToJson(payload, preserving_proto_field_name=True, indent=None).encode()
    return Event(uuid.uuid4().hex, "product.changed", "/catalog", product.id, wall_clock.now(), data)


def _row(product: Product) -> dict[str, Any]:
    return row_of(product, products, price_minor=to_minor(product.price, product.currency), deleted=False)


def _product(row: Any) -> Product:
    return item_of(Product, row, price=from_minor(row.price_minor, row.currency))
