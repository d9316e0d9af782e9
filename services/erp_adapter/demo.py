"""The demo stock of the modern ERP: the same figures as in inventory's and in the legacy ERP's own seed."""

from __future__ import annotations

PLENTY = 100
SCARCE = 3


def demo_stock() -> dict[str, int]:
    """Pieces per product id of the demo catalogue; there are only three of product 7."""
    stock = dict.fromkeys([*(str(number) for number in range(1, 23)), "42", "123"], PLENTY)
    stock["7"] = SCARCE
    return stock
