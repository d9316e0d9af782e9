"""`shop migrate`: brings the databases of services up to date, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from alembic.util import CommandError
from asyncpg import PostgresError
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from chassis.database.database import migrate
from chassis.settings import ProcessSettings
from shop.errors import Refused
from shop.process_table import TABLE

# What can go wrong with a database; anything else is a mistake of ours, and shows itself as one.
_FAILURES = (OSError, PostgresError, SQLAlchemyError, CommandError, ValueError)


def migrate_command(names: Sequence[str], env: Mapping[str, str]) -> tuple[str, bool]:
    """Bring these services' databases up to date, or all that are in use: (a line for each, whether all went well).

    Each is tried whatever became of the others. Raises `Refused` for a service without a database.
    """
    known = schemas()
    if unknown := set(names) - known.keys():
        raise Refused(f"unknown database {', '.join(sorted(unknown))}; known databases: {', '.join(known)}")
    chosen = [name for name in known if name in names or (not names and in_use(name, env))]
    outcomes = [asyncio.run(_migrated(name, known[name])) for name in chosen]
    return "\n".join(line for line, _ in outcomes), all(fine for _, fine in outcomes)


def schemas() -> dict[str, Path]:
    """Service -> its Alembic revisions."""
    packages = dict.fromkeys(spec.entry.partition(":")[0].rpartition(".")[0] for spec in TABLE)
    folders = {package.rpartition(".")[2]: _folder(package) / "migrations" for package in packages}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def _folder(package: str) -> Path:
    found = find_spec(package)  # imports none of the service's code
    if found is None or found.origin is None:
        raise ModuleNotFoundError(package)
    return Path(found.origin).parent


def in_use(name: str, env: Mapping[str, str]) -> bool:
    """Whether a service has a database of its own: in front of the legacy ERP its adapter has none."""
    return name != "erp_adapter" or env.get("SHOP_ERP") == "modern"


async def _migrated(name: str, migrations: Path) -> tuple[str, bool]:
    settings = ProcessSettings()
    try:
        before, after = await migrate(settings.database(name), migrations, create=settings.env == "development")
    except _FAILURES as error:
        return f"{name}: failed, {_reason(error)}", False
    return f"{name}: {after}, {'as before' if after == before else f'was {before}' if before else 'new'}", True


def _reason(error: Exception) -> str:
    if isinstance(error, ArgumentError):
        # Its own words show the URL, which may hold a password.
        return "SHOP_DATABASE_URL must be the URL of a database"
    words = str(error.orig if isinstance(error, DBAPIError) else error)
    return words.partition("\n")[0] or type(error).__name__
