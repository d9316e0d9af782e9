"""Unit prices of stored lines count the minor units of their currency (ISO 4217); before, hundredths of any currency.

A fraction of a currency that has none is cut off. Each row is converted once: the revision is recorded in the same
transaction, and a process has brought its database here before it writes. A row that already counted minor units under
revision 0001 cannot be recognised; no release has written such rows.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# As ISO 4217 had them then: a later change of the standard must not change what this does to a row.
_NO_PLACES = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_PLACES = "BHD IQD JOD KWD LYD OMR TND"

_ORDERS = sa.table("sales_orders", sa.column("number", sa.BigInteger), sa.column("content", sa.Text))


def upgrade() -> None:
    connection = op.get_bind()
    # An order that was cancelled before it came has no content.
    rows = connection.execute(sa.select(_ORDERS.c.number, _ORDERS.c.content).where(_ORDERS.c.content != "")).all()
    for number, stored in rows:
        content = json.loads(stored)
        currency = content["currency"]
        if currency in _NO_PLACES.split():
            content["lines"] = [
                [product, pieces, hundredths // 100] for product, pieces, hundredths in content["lines"]
            ]
        elif currency in _THREE_PLACES.split():
            content["lines"] = [[product, pieces, price * 10] for product, pieces, price in content["lines"]]
        else:
            continue
        # Written as the ERP writes it, which recognises a repeat by its text.
        change = _ORDERS.update().where(_ORDERS.c.number == number).values(content=json.dumps(content))
        connection.execute(change)
