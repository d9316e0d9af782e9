"""Users and signing keys in the service's own database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from chassis import wall_clock
from chassis.database.database import Database, UtcTime, item_of, row_of
from chassis.retention import MIGRATED, Deleted, Kept, Retention
from services.users.domain import Role, User, email_taken
from services.users.oauth_clients import Client, Code
from services.users.tokens import SigningKey, new_signing_key

metadata = sa.MetaData()
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("registered_at", UtcTime, nullable=False),
)
signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)
clients = sa.Table(
    "clients",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    # One a line: a URI has no white space.
    sa.Column("redirect_uris", sa.Text, nullable=False),
    sa.Column("registered_at", UtcTime, nullable=False),
    # When a user last let it act; null until then.
    sa.Column("authorized_at", UtcTime, nullable=True),
    sa.Index("clients_by_use", "authorized_at", "registered_at"),
)
codes = sa.Table(
    "authorization_codes",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    sa.Column("challenge", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False, index=True),
)
# Clients that no user ever let act: more of them are not kept.
MAX_UNUSED_CLIENTS = 10_000
RETENTION: Retention = {
    **MIGRATED,
    "users": Kept("an account has no end: orders refer to it"),
    "clients": Deleted("when no user let it act, and 10,000 such have registered since, by the next registration"),
    "authorization_codes": Deleted("when redeemed; else with the first new code after it has expired"),
    "signing_keys": Deleted("once no token that it signed can be valid, when a new key is made"),
}

_BY_EMAIL = sa.select(users).where(users.c.email == sa.bindparam("email"))
_BY_IDS = sa.select(users).where(users.c.id.in_(sa.bindparam("ids", expanding=True)))


class SqlUserStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User) -> None:
        try:
            await self._database.write(lambda connection: connection.execute(sa.insert(users), _row(user)))
        except IntegrityError as error:
            raise email_taken(user.email) from error

    async def by_email(self, email: str) -> User | None:
        row = await self._database.row(_BY_EMAIL, {"email": email})
        return _user(row) if row else None

    async def by_ids(self, ids: Sequence[str]) -> list[User]:
        if not ids:
            return []
        rows = await self._database.rows(_BY_IDS, {"ids": list(ids)})
        found = {row.id: _user(row) for row in rows}
        return [found[user_id] for user_id in dict.fromkeys(ids) if user_id in found]

    async def add_missing(self, demo: Sequence[User]) -> None:
        """Add those users whose id is not there yet."""
        await self._database.add_missing(users, [_row(user) for user in demo])

    async def signing_keys(self, *, max_age: float = inf, keep: float = inf) -> list[SigningKey]:
        """All keys, newest first. One is made when there is none, or none that is younger than `max_age` seconds.

        Then those are forgotten that were replaced more than `keep` seconds ago: nothing that they signed is valid.
        """
        keys = await self._database.read(_signing_keys)
        if keys and not _too_old(keys[0], max_age):
            return keys
        return await self._database.write(lambda connection: _renewed(connection, max_age, keep))

    async def add_client(self, client: Client) -> None:
        await self._database.write(lambda connection: _add_client(connection, client))

    async def client(self, client_id: str) -> Client | None:
        row = await self._database.row(sa.select(clients).where(clients.c.id == client_id))
        return item_of(Client, row, redirect_uris=row.redirect_uris.split()) if row else None

    async def add_code(self, code: Code) -> None:
        await self._database.write(lambda connection: _add_code(connection, code))

    async def take_code(self, code_hash: str) -> Code | None:
        statement = sa.delete(codes).where(codes.c.hash == code_hash).returning(*codes.c)
        row = await self._database.write(lambda connection: connection.execute(statement).one_or_none())
        return item_of(Code, row) if row else None


def _add_client(connection: sa.Connection, client: Client) -> None:
    connection.execute(sa.insert(clients), row_of(client, clients, redirect_uris="\n".join(client.redirect_uris)))
    unused = clients.c.authorized_at.is_(None)
    newest = sa.select(clients.c.registered_at).where(unused).order_by(clients.c.registered_at.desc())
    oldest_kept = connection.execute(newest.offset(MAX_UNUSED_CLIENTS).limit(1)).scalar_one_or_none()
    if oldest_kept is not None:
        # Never the new one, which is the oldest once the clock has been set back.
        others = clients.c.id != client.id
        connection.execute(sa.delete(clients).where(unused, others, clients.c.registered_at <= oldest_kept))


def _add_code(connection: sa.Connection, code: Code) -> None:
    now = wall_clock.now()
    connection.execute(sa.delete(codes).where(codes.c.expires_at <= now))
    connection.execute(sa.insert(codes), row_of(code, codes))
    connection.execute(sa.update(clients).where(clients.c.id == code.client_id).values(authorized_at=now))


def _signing_keys(connection: sa.Connection) -> list[SigningKey]:
    newest_first = sa.select(signing_keys).order_by(signing_keys.c.created_at.desc())
    return [SigningKey(row.id, row.seed, row.created_at.timestamp()) for row in connection.execute(newest_first)]


def _renewed(connection: sa.Connection, max_age: float, keep: float) -> list[SigningKey]:
    """The keys with a new one before them, unless another process was faster."""
    if connection.dialect.name == "postgresql":  # on SQLite, only one process at a time is in a transaction
        connection.execute(sa.text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
    keys = _signing_keys(connection)
    if keys and not _too_old(keys[0], max_age):
        return keys
    new = new_signing_key()
    row = {"id": new.id, "seed": new.seed, "created_at": datetime.fromtimestamp(new.made_at, UTC)}
    connection.execute(sa.insert(signing_keys), row)
    replaced_at = dict(zip([key.id for key in keys[1:]], [key.made_at for key in keys], strict=False))
    gone = [key_id for key_id, made_at in replaced_at.items() if new.made_at - made_at > keep]
    connection.execute(sa.delete(signing_keys).where(signing_keys.c.id.in_(gone)))
    return [new, *(key for key in keys if key.id not in gone)]


def _too_old(key: SigningKey, max_age: float) -> bool:
    return wall_clock.seconds() - key.made_at > max_age


def _row(user: User) -> dict[str, Any]:
    return row_of(user, users, role=user.role.value)


def _user(row: Any) -> User:
    return item_of(User, row, role=Role(row.role))
