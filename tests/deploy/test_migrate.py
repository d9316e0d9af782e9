"""`shop migrate`, and processes that leave it to that: on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from chassis.database.database import database, migrate
from chassis.database.schema_migrations import SchemaBehind, upgraded
from chassis.settings import ProcessSettings
from services.inventory.bootstrap import MIGRATIONS
from shop.cli import app
from shop.commands.processes.migrate import schemas

NEWEST = max(path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py"))


@pytest.fixture
def place(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessSettings:
    """The settings that say where databases are, in the environment, too."""
    monkeypatch.setenv("SHOP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SHOP_DATABASE_URL", database_url)
    return ProcessSettings()


async def shop_migrate(*services: str) -> Result:
    """The command, as it is called."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["migrate", *services])


async def _say_it_is_ahead(place: ProcessSettings) -> None:
    async with database(place.database("inventory"), MIGRATIONS) as db, db.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


class TestCommand:
    async def test_brings_every_database_there_and_is_safe_to_repeat(self, place: ProcessSettings) -> None:
        """Without a name it is all that are in use, each with its newest revision; a second time changes nothing."""
        wanted = {name: max(path.name[:4] for path in folder.glob("[0-9]*.py")) for name, folder in schemas().items()}
        del wanted["erp_adapter"]  # has a database only instead of the legacy ERP
        first, second = await shop_migrate(), await shop_migrate()
        assert sorted(first.output.split("\n")[:-1]) == sorted(
            f"{name}: {newest}, new" for name, newest in wanted.items()
        )
        assert sorted(second.output.split("\n")[:-1]) == sorted(
            f"{name}: {newest}, as before" for name, newest in wanted.items()
        )
        assert (first.exit_code, second.exit_code) == (0, 0)

    async def test_only_what_is_named(self, place: ProcessSettings) -> None:
        """A name limits it to that service's database."""
        assert (await shop_migrate("inventory")).output == f"inventory: {NEWEST}, new\n"

    async def test_leaves_what_is_ahead(self, place: ProcessSettings) -> None:
        """The release before, rolled back to, finds a schema that is newer than itself and leaves it as it is."""
        await shop_migrate("inventory")
        await _say_it_is_ahead(place)
        again = await shop_migrate("inventory")
        assert (again.output, again.exit_code) == ("inventory: 9999, as before\n", 0)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://shop:hidden@127.0.0.1:1/shop", "users: failed, [Errno"),
        (
            "mysql://shop:hidden@127.0.0.1/shop",
            "users: failed, the database URL must begin with sqlite: or postgresql:, not mysql:",
        ),
        ("nonsense:hidden", "users: failed, SHOP_DATABASE_URL must be the URL of a database"),
    ],
)
async def test_failure_is_said_in_a_line(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot be migrated is named, with the reason, without the password, and with exit code 1."""
    monkeypatch.setenv("SHOP_DATABASE_URL", url)
    done = await shop_migrate("users")
    assert done.output.startswith(reason)
    assert done.output.count("\n") == 1
    assert "hidden" not in done.output
    assert done.exit_code == 1


@pytest.mark.postgres
async def test_role_that_may_not_is_told_so(postgres_databases: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing database is not made in production."""
    monkeypatch.setenv("SHOP_DATABASE_URL", postgres_databases)
    monkeypatch.setenv("SHOP_ENV", "production")
    done = await shop_migrate("users")
    assert "does not exist" in done.output
    assert done.exit_code == 1


async def test_service_without_a_database_is_refused() -> None:
    """A process without a database cannot be migrated, and the error names those that can."""
    done = await shop_migrate("gateway")
    assert done.exit_code != 0
    assert "unknown database gateway; known databases: " in str(done.exception)


REVISION = """
from alembic import op
from sqlalchemy import Column, Integer

revision, down_revision = "{number:04}", {before!r}


def upgrade() -> None:
    op.create_table("release_{number}", Column("id", Integer, primary_key=True))
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The revisions of a service called "things": one."""
    folder = tmp_path / "things/migrations"
    folder.mkdir(parents=True)
    add_revision(folder, 1, None)
    return folder


def add_revision(folder: Path, number: int, before: str | None) -> None:
    (folder / f"{number:04}_more.py").write_text(REVISION.format(number=number, before=before))


class TestProcessesThatDoNotMigrate:
    async def test_wait_until_it_is_migrated(self, place: ProcessSettings, migrations: Path) -> None:
        """SHOP_MIGRATE=false: the process starts once the schema is there, and does not touch it before."""
        url = place.database("things")
        assert await migrate(url, migrations, create=True) == ("", "0001")
        add_revision(migrations, 2, "0001")

        async def start() -> None:
            async with database(url, migrations, migrate=False) as db, db.reading() as connection:
                await connection.execute(text("SELECT id FROM release_2"))

        starting = asyncio.create_task(start())
        done, _ = await asyncio.wait({starting}, timeout=0.7)
        assert not done
        assert await migrate(url, migrations) == ("0001", "0002")
        async with asyncio.timeout(10):
            await starting

    async def test_say_what_is_missing(self, place: ProcessSettings, migrations: Path) -> None:
        """A process that has waited in vain names the revision there, the one it needs, and the command that gets
        it."""
        async with database(place.database("things"), migrations, create=True) as db:
            add_revision(migrations, 2, "0001")
            with pytest.raises(SchemaBehind, match=r"at revision 0001, but .* needs 0002: run `shop migrate things`"):
                await upgraded(db, migrations, timeout=0)

    async def test_take_a_schema_that_is_ahead(self, place: ProcessSettings) -> None:
        """While a release rolls out, copies of the one before start on the new schema."""
        await shop_migrate("inventory")
        await _say_it_is_ahead(place)
        async with database(place.database("inventory"), MIGRATIONS, migrate=False) as db:
            assert db.engine is not None


def test_password_is_put_into_the_url() -> None:
    """The URL is configuration and the password a secret: any character of it survives, and one in the URL stays."""
    url = "postgresql://shop_{service}@db:5432/shop_{service}"
    told = ProcessSettings(database_url=url, database_password="a/b@c:d")
    assert told.database("orders") == "postgresql://shop_orders:a%2Fb%40c%3Ad@db:5432/shop_orders"
    given = ProcessSettings(database_url="postgresql://me:mine@db/x", database_password="other")
    assert given.database("orders") == "postgresql://me:mine@db/x"
    assert ProcessSettings(database_password="x", data_dir=Path("/d")).database("o") == "sqlite:////d/o.sqlite"
