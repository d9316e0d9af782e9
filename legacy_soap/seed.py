"""The warehouse's stock on the first day."""

from __future__ import annotations

from collections.abc import Mapping

PIECES = 100

# The shop's product id (kept as AltRef) -> pieces. Number 7 is the scarce one.
DEMO_STOCK: Mapping[str, int] = {str(number): PIECES for number in range(1, 23)} | {"7": 3, "42": PIECES, "123": PIECES}
