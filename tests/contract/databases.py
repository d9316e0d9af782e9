"""The services' own databases, opened as their bootstraps open them, without a relay of the outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import cast

from sqlalchemy import Table

from chassis.broker.outbox import Outbox
from chassis.broker.port import Broker
from chassis.database.database import Database, database
from chassis.observability.tracing import Telemetry
from chassis.settings import ProcessSettings

Open = Callable[[str], AbstractAsyncContextManager[Database]]


def url_of(service: str, database_url: str, data_dir: Path) -> str:
    """The URL of a service's database, by the template of the `database_url` fixture."""
    return ProcessSettings(data_dir=data_dir, database_url=database_url).database(service)


@asynccontextmanager
async def opened(service: str, url: str) -> AsyncIterator[Database]:
    """A service's database, with its schema up to date."""
    migrations = import_module(f"services.{service}.bootstrap").MIGRATIONS
    async with database(url, migrations, create=True) as db:
        yield db


def unrelayed(table: Table, db: Database) -> Outbox:
    """An outbox that only collects: what it would publish to is not there."""
    return Outbox(table, db, cast("Broker", None), Telemetry("test"))
