"""Migrations at a shop's start: a process that ends brings databases up to date before any that stays needs them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from shop.process_table import ProcessSpec


def migrate(specs: Sequence[ProcessSpec], env: Mapping[str, str]) -> None:
    """Migrate the databases of these processes. It is for a fork (`Supervisor.run`), and changes its environment.

    A service that migrates its own database (what has not worked here it tries itself, and logs why it cannot) keeps
    for good the 5 MB of memory that this takes.
    """
    # Imported in the fork only, where it is free: the supervisor has what it needs already, from its children.
    from shop.commands.processes.migrate import in_use, migrate_command, schemas

    os.environ.clear()
    os.environ.update(env)
    packages = {spec.entry.partition(":")[0].rpartition(".")[0].rpartition(".")[2] for spec in specs}
    migrate_command([name for name in schemas() if name in packages and in_use(name, env)], env)


def wanted(env: Mapping[str, str]) -> bool:
    """Whether the shop migrates its databases at its start."""
    return env.get("SHOP_MIGRATE", "true").lower() not in ("false", "0", "no", "off")
