"""Removes, doubles and alters rows and files that a running shop has written, and puts them back."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.shop import Shop

Row = dict[str, Any]
# A row as it is to be; None to remove it.
Change = Callable[[Row], Row | None]

# Theirs: SQLite, whatever the shop's own services use.
PARTNERS = ("legacy_soap", "payment_provider", "broker")


@dataclass(frozen=True)
class Place:
    """Rows of a table in one service's database; `where` is SQL, `key` the columns that identify them."""

    service: str
    table: str
    where: str
    key: tuple[str, ...]


def url(shop: Shop, service: str) -> str:
    """Where a service's database is, for SQLAlchemy's asynchronous drivers."""
    given = shop.around.shared.get("SHOP_DATABASE_URL", "")
    if not given or service in PARTNERS:
        return f"sqlite+aiosqlite:///{shop.around.data_dir / f'{service}.sqlite'}"
    return given.replace("{service}", service).replace("postgresql://", "postgresql+asyncpg://")


@asynccontextmanager
async def changing(shop: Shop, service: str) -> AsyncIterator[AsyncConnection]:
    """One transaction in a service's database."""
    engine = create_async_engine(url(shop, service))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def altered(shop: Shop, place: Place, change: Change) -> AsyncIterator[None]:
    """Each of the rows as `change` makes it, until the block ends."""
    async with changing(shop, place.service) as connection:
        before = await _rows(connection, place)
        assert before, f"there is no such row: {place}"
        for row in before:
            await _delete(connection, place, row)
        after = [changed for row in before if (changed := change(dict(row))) is not None]
        for row in after:
            await _insert(connection, place, row)
    try:
        yield
    finally:
        async with changing(shop, place.service) as connection:
            for row in after:
                await _delete(connection, place, row)
            for row in before:
                await _insert(connection, place, row)


@asynccontextmanager
async def doubled(shop: Shop, place: Place, **changes: Callable[[Any], Any]) -> AsyncIterator[None]:
    """Each of the rows twice, the second with these columns changed, until the block ends."""
    async with changing(shop, place.service) as connection:
        copies = [
            {**row, **{name: of(row[name]) for name, of in changes.items()}} for row in await _rows(connection, place)
        ]
        assert copies, f"there is no such row: {place}"
        for copy in copies:
            await _insert(connection, place, copy)
    try:
        yield
    finally:
        async with changing(shop, place.service) as connection:
            for copy in copies:
                await _delete(connection, place, copy)


@asynccontextmanager
async def rewritten(path: Path, content: bytes | None) -> AsyncIterator[None]:
    """A file with other content, or without any, until the block ends."""
    before = _read(path)
    _write(path, content)
    try:
        yield
    finally:
        _write(path, before)


def other(_: Any) -> str:
    """An id that nothing has."""
    return uuid.uuid4().hex


def values(**columns: Any) -> Change:
    """A row with other values."""
    return lambda row: {**row, **columns}


def removed(_: Row) -> None:
    """No row."""


def fact(column: str, name: str, value: object) -> Change:
    """A row with another fact in a JSON column."""

    def change(row: Row) -> Row:
        facts = json.dumps({**json.loads(row[column]), name: value})
        return {**row, column: facts.encode() if isinstance(row[column], bytes) else facts}

    return change


async def _rows(connection: AsyncConnection, place: Place) -> list[Row]:
    statement = text(f"SELECT * FROM {place.table} WHERE {place.where}")  # noqa: S608 - a test's own words
    return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def _insert(connection: AsyncConnection, place: Place, row: Mapping[str, Any]) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    parameters = ", ".join(f":{name}" for name in row)
    await connection.execute(text(f"INSERT INTO {place.table} ({names}) VALUES ({parameters})"), dict(row))  # noqa: S608


async def _delete(connection: AsyncConnection, place: Place, row: Mapping[str, Any]) -> None:
    which = " AND ".join(f"{name} = :{name}" for name in place.key)
    parameters = {name: row[name] for name in place.key}
    await connection.execute(text(f"DELETE FROM {place.table} WHERE {which}"), parameters)  # noqa: S608


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)
