"""Every table has a stated retention: what deletes its rows, or why they stay for ever."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import inspect

import legacy_soap.tables
import partners.payment_provider.tables
import webhooks.incoming.sql_store
import webhooks.outgoing.sql_store.tables
from chassis.broker.embedded import store as embedded
from chassis.database.database import database
from chassis.retention import Retention
from services.catalog import sql_store as catalog
from services.erp_adapter import modern_erp
from services.inventory.sql_store import tables as inventory
from services.mailer import sql_store as mailer
from services.orders import sql_store as orders
from services.reports.sql_store import tables as reports
from services.storage import sql_store as storage
from services.users import sql_store as users
from tests.contract.databases import url_of

REPOSITORY = Path(__file__).parents[2]
# Each package that has migrations -> what its schemas state.
STATED: dict[str, Retention] = {
    "services.catalog": catalog.RETENTION,
    "services.erp_adapter": modern_erp.RETENTION,
    "services.inventory": inventory.RETENTION,
    "services.mailer": mailer.RETENTION,
    "services.orders": orders.RETENTION,
    "services.reports": reports.RETENTION,
    "services.storage": storage.RETENTION,
    "services.users": users.RETENTION,
    "webhooks": {**webhooks.incoming.sql_store.RETENTION, **webhooks.outgoing.sql_store.tables.RETENTION},
}
# Databases without migrations: the statements that make them, and what is stated of their tables.
SCRIPTS: dict[str, tuple[str, Collection[str]]] = {
    "embedded broker": (embedded.SCHEMA, embedded.RETENTION),
    "payment provider": (partners.payment_provider.tables.SCHEMA, partners.payment_provider.tables.KEPT),
    "legacy ERP": ("".join(legacy_soap.tables.VERSIONS), legacy_soap.tables.KEPT),
}


def test_every_package_with_migrations_states_retention() -> None:
    """A new database cannot come without a statement: each folder of migrations is known here."""
    first = [*REPOSITORY.glob("*/migrations/0001_*.py"), *REPOSITORY.glob("services/*/migrations/0001_*.py")]
    assert {".".join(path.parents[1].relative_to(REPOSITORY).parts) for path in first} == set(STATED)


@pytest.mark.parametrize("package", STATED)
async def test_each_table_of_a_migrated_database_has_a_stated_retention(
    package: str, database_url: str, tmp_path: Path
) -> None:
    """The tables that the migrations leave are those whose retention is stated, no more and no fewer."""
    migrations = import_module(f"{package}.bootstrap").MIGRATIONS
    url = url_of(package.rpartition(".")[2], database_url, tmp_path)
    async with database(url, migrations, create=True) as db, db.reading() as connection:
        tables = await connection.run_sync(lambda opened: inspect(opened).get_table_names())
    assert set(tables) == set(STATED[package])


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_table_of_a_database_without_migrations_has_a_stated_retention(name: str) -> None:
    """The same of the files that the embedded broker, the payment provider and the legacy ERP make for themselves."""
    script, stated = SCRIPTS[name]
    db = sqlite3.connect(":memory:")
    db.executescript(script)
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    db.close()
    assert {table for table in tables if not table.startswith("sqlite_")} == set(stated)
