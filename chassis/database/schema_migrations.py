"""Schema migrations: which of a service's Alembic revisions a database is at, and how it gets to the newest.

Revisions are named 0001, 0002 … in one line, so that the newest is known without importing Alembic: that import costs
as much as all the rest of a service's start. A schema that is ahead of the code will do: revisions leave the release
before theirs working (docs/adr/0019).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# Seconds to wait for `shop migrate`, and between two looks.
_TIMEOUT = 60.0
_POLL_SECONDS = 0.5


class Migratable(Protocol):
    """The part of a database that migrations need."""

    engine: AsyncEngine

    def lock(self, name: str) -> AbstractAsyncContextManager[bool]: ...

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]: ...


class SchemaBehind(RuntimeError):
    """The schema is older than the code, and this process does not migrate it."""


async def upgrade(database: Migratable, migrations: Path) -> None:
    """Run what is missing of the revisions, in one process at a time."""
    newest = _newest(migrations)
    if await revision(database) >= newest:
        return
    async with database.lock("migrate"):
        if await revision(database) < newest:
            async with database.transaction() as connection:
                await connection.run_sync(_upgrade, migrations)


async def upgraded(database: Migratable, migrations: Path, *, timeout: float = _TIMEOUT) -> None:
    """Wait until another process has run the missing migrations. Raises `SchemaBehind` after `timeout` seconds."""
    newest, loop = _newest(migrations), asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while (found := await revision(database)) < newest:
        if loop.time() > deadline:
            name = database.engine.url.database
            advice = f"run `shop migrate {migrations.parent.name}`"
            raise SchemaBehind(f"{name} is at revision {found or 'none'}, but this code needs {newest}: {advice}")
        await asyncio.sleep(_POLL_SECONDS)


async def revision(database: Migratable) -> str:
    """The newest revision that has been run; "" for none."""
    async with database.engine.connect() as connection:
        if not await connection.run_sync(lambda plain: inspect(plain).has_table("alembic_version")):
            return ""
        found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return "" if found is None else str(found)


def _newest(migrations: Path) -> str:
    return max(path.name[:4] for path in migrations.glob("[0-9]*.py"))


def _upgrade(connection: Connection, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
