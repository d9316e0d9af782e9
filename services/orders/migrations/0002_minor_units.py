"""Amounts count the minor units of their currency (ISO 4217); before, they counted hundredths of any currency.

A fraction of a currency that has none is cut off.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# As ISO 4217 had them then: a later change of the standard must not change what this does to a row.
_NO_PLACES = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_PLACES = "BHD IQD JOD KWD LYD OMR TND"


def upgrade() -> None:
    for currencies, change in ((_NO_PLACES, "total_minor / 100"), (_THREE_PLACES, "total_minor * 10")):
        codes = ", ".join(f"'{code}'" for code in currencies.split())
        op.execute(f"UPDATE orders SET total_minor = {change} WHERE currency IN ({codes})")  # noqa: S608  # nosec B608 # constants
