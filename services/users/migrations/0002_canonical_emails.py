"""Each address in its one form; of two accounts with one address, the older one gets it and the other stays."""

import logging

import sqlalchemy as sa
from alembic import op

from chassis.email_addresses import canonical_email

revision = "0002"
down_revision = "0001"

log = logging.getLogger(__name__)

users = sa.table("users", sa.column("id", sa.Text), sa.column("email", sa.Text), sa.column("registered_at"))


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.select(users.c.id, users.c.email).order_by(users.c.registered_at, users.c.id)).all()
    taken = {row.email for row in rows}
    for row in rows:
        try:
            email = canonical_email(row.email)
        except ValueError as error:
            log.warning("users: invalid email address", extra={"id": row.id, "reason": str(error)})
            continue
        if email == row.email:
            continue
        if email in taken:
            log.warning("users: duplicate email address", extra={"id": row.id})
            continue
        taken.add(email)
        connection.execute(sa.update(users).where(users.c.id == row.id).values(email=email))
