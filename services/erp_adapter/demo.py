"""The demo stock of the modern ERP, the same as inventory's and the legacy ERP's own; and the latter's demo account."""

from __future__ import annotations

PLENTY = 100
SCARCE = 3
DEMO_PASSWORD = "shop"  # noqa: S105  # nosec B105 # the legacy ERP's demo account


def demo_stock() -> dict[str, int]:
    """Pieces per product id of the demo catalogue; there are only three of product 7."""
    stock = dict.fromkeys([*(str(number) for number in range(1, 23)), "42", "123"], PLENTY)
    stock["7"] = SCARCE
    return stock
