"""Products in the service's own database; every change writes `product.changed` into the outbox with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from google.protobuf.json_format import MessageToJson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    MetaData,
    Select,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from chassis.broker.inbox import Inbox, inbox_table
from chassis.broker.outbox import Outbox, outbox_table
from chassis.broker.port import Event
from chassis.database import Database, UtcTime, by_number, insert_missing, numbered
from chassis.errors import not_found
from chassis.grouping import Grouped
from protos.shop.events.v1.events_pb2 import ProductChanged
from services.catalog.domain import Product

metadata = MetaData()
products = Table(
    "products",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("image_url", Text, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
)
outbox = outbox_table(metadata)
inbox = inbox_table(metadata)

# Products that are kept in memory, 1 KB each.
_MOST_KNOWN = 1_000
# Seconds from one question for those who are patient to the next.
_GATHER_SECONDS = 0.01
_LIVE = select(products).where(products.c.deleted.is_(False))


# Built once: SQLAlchemy caches what they compile to.
@lru_cache
def _by_ids(count: int) -> Select[Any]:
    return _LIVE.where(products.c.id.in_(numbered(count)))


class SqlProductStore:
    def __init__(self, database: Database, events: Outbox) -> None:
        self._database = database
        self._events = events
        self._inbox = Inbox(inbox)
        self._known: dict[str, Product] = {}
        self._known_at: int | None = None
        self._finding = Grouped(self._find_together)
        self._gathering = Grouped(self._find_together, every=_GATHER_SECONDS)

    async def by_ids(self, ids: Sequence[str], *, patient: bool = False) -> dict[str, Product]:
        known = self._known_now()
        missing = [product_id for product_id in ids if product_id not in known]
        if missing:
            known.update(await (self._gathering if patient else self._finding).submit(missing))
        return {product_id: known[product_id] for product_id in ids if product_id in known}

    async def _find_together(self, wanted: Sequence[Sequence[str]]) -> Sequence[Mapping[str, Product]]:
        """Look for what several callers want at once, and tell each of all that was found."""
        ids = list({product_id for each in wanted for product_id in each})
        # As many parameters as a power of two, so that there are few statements.
        ids += ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
        statement, parameters = _by_ids(len(ids)), by_number(ids)
        rows = await self._database.read(lambda connection: connection.execute(statement, parameters).all())
        found = {row.id: _product(row) for row in rows}
        return [found] * len(wanted)

    def _known_now(self) -> dict[str, Product]:
        """What was read since anything was last written; nothing where that cannot be told."""
        version = self._database.version()
        if version is None or version != self._known_at or len(self._known) > _MOST_KNOWN:
            self._known, self._known_at = {}, version
        return self._known

    async def page(self, *, category: str, query: str, after: str, size: int) -> list[Product]:
        statement = _LIVE.where(products.c.id > after).order_by(products.c.id).limit(size)
        if category:
            statement = statement.where(products.c.category == category)
        text = func.lower(products.c.name + " " + products.c.description)
        for word in query.lower().split():
            statement = statement.where(text.contains(word, autoescape=True))
        async with self._database.reading() as connection:
            return [_product(row) for row in await connection.execute(statement)]

    async def add(self, product: Product) -> None:
        def adding(connection: Connection) -> None:
            connection.execute(insert(products), _row(product))
            self._events.add(connection, _changed_event(product))

        await self._database.write(adding)

    async def add_missing(self, demo: Sequence[Product]) -> None:
        """Add those whose id was never there; deleted ones stay deleted."""
        rows = [_row(product) for product in demo]
        await self._database.write(lambda connection: connection.execute(insert_missing(connection, products), rows))

    async def change(self, product_id: str, change: Callable[[Product], Product]) -> Product:
        return await self._database.write(lambda connection: self._change(connection, product_id, change))

    async def change_once(self, event_id: str, product_id: str, change: Callable[[Product], Product]) -> Product:
        def changing(connection: Connection) -> Product:
            if self._inbox.first_time(connection, "refresh-material", event_id):
                return self._change(connection, product_id, change)
            return _locked(connection, product_id)

        return await self._database.write(changing)

    def _change(self, connection: Connection, product_id: str, change: Callable[[Product], Product]) -> Product:
        product = change(_locked(connection, product_id))
        connection.execute(update(products).where(products.c.id == product_id).values(_row(product)))
        self._events.add(connection, _changed_event(product))
        return product

    async def delete(self, product_id: str, check: Callable[[Product], None]) -> None:
        def deleting(connection: Connection) -> None:
            product = _locked(connection, product_id)
            check(product)
            connection.execute(update(products).where(products.c.id == product_id).values(deleted=True))
            self._events.add(connection, _changed_event(product, deleted=True))

        await self._database.write(deleting)


def _locked(connection: Connection, product_id: str) -> Product:
    row = connection.execute(_LIVE.where(products.c.id == product_id).with_for_update()).one_or_none()
    if row is None:
        raise not_found("product", product_id)
    return _product(row)


def _changed_event(product: Product, *, deleted: bool = False) -> Event:
    payload = ProductChanged(product_id=product.id, version=product.version, deleted=deleted)
    data = MessageToJson(payload, preserving_proto_field_name=True, indent=None).encode()
    return Event(uuid.uuid4().hex, "product.changed", "/catalog", product.id, datetime.now(UTC), data)


def _row(product: Product) -> dict[str, object]:
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "category": product.category,
        "price_minor": int(product.price * 100),
        "currency": product.currency,
        "image_url": product.image_url,
        "updated_at": product.updated_at,
        "version": product.version,
        "deleted": False,
    }


def _product(row: Any) -> Product:
    return Product(
        id=row.id,
        name=row.name,
        description=row.description,
        category=row.category,
        price=Decimal(row.price_minor).scaleb(-2),
        currency=row.currency,
        image_url=row.image_url,
        updated_at=row.updated_at,
        version=row.version,
    )
