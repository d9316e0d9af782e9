"""Retention: each table of a database declares for how long its rows stay.

Each schema declares `RETENTION`, table name -> `Deleted` or `Kept`; a test compares it with the tables that exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deleted:
    """Rows are deleted; `when` gives the moment and the deleting process."""

    when: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows stay for ever; `because` names what needs them, or what bounds their number."""

    because: str


Retention = Mapping[str, Deleted | Kept]
# Of every database that Alembic migrates.
MIGRATED: Retention = {"alembic_version": Kept("one row: the schema's revision")}
