"""The metadata of each file, in the service's own database."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, Text, bindparam, select

from chassis.database.database import Database, item_of, row_of
from chassis.retention import MIGRATED, Kept, Retention
from services.storage.domain import Content, StoredFile

metadata = MetaData()
files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", Text, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("owner_id", Text, nullable=False),
    Column("public", Boolean, nullable=False),
)
RETENTION: Retention = {
    **MIGRATED,
    "files": Kept("invoices and customers' files are theirs; garbage collection deletes only content without a row"),
}

_BY_ID = select(files).where(files.c.id == bindparam("id"))
_KEPT = select(files.c.sha256).where(files.c.sha256.in_(bindparam("digests", expanding=True)))


class SqlFileStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: StoredFile) -> None:
        row = row_of(file, files, sha256=file.content.sha256, size=file.content.size)
        await self._database.add_missing(files, [row])

    async def by_id(self, file_id: str) -> StoredFile | None:
        row = await self._database.row(_BY_ID, {"id": file_id})
        return item_of(StoredFile, row, content=item_of(Content, row)) if row else None

    async def kept(self, digests: Sequence[str]) -> set[str]:
        parameters = {"digests": digests}
        return set(await self._database.read(lambda connection: connection.scalars(_KEPT, parameters).all()))
