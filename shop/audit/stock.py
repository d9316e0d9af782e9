"""Balance of stock: all that ever arrived is there, reserved, or shipped. Pure decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shop.audit.findings import Finding, different, undecided
from shop.audit.records import Reservation, Stock


class Promised:
    """The pieces of all reservations, by product and state, added up one by one."""

    def __init__(self) -> None:
        self._pieces: Counter[tuple[str, str]] = Counter()

    def add(self, reservation: Reservation) -> None:
        """Count one reservation."""
        for product_id, quantity in reservation.lines.items():
            self._pieces[product_id, reservation.state] += quantity

    def of(self, product_id: str, state: str) -> int:
        """Pieces of a product in reservations of one state."""
        return self._pieces[product_id, state]


def judge_stock(stock: Stock, promised: Promised, *, settled: bool) -> Iterator[Finding]:
    """One product's figures. Books that are read one after the other are compared only while no order moves."""
    if stock.available + stock.reserved + stock.shipped != stock.received:
        figures = f"{stock.available} available + {stock.reserved} reserved + {stock.shipped} shipped"
        yield different(f"{figures} is not the {stock.received} that came in")
    if not settled:
        return
    held, shipped = promised.of(stock.product_id, "held"), promised.of(stock.product_id, "shipped")
    if (stock.reserved, stock.shipped) != (held, shipped):
        figures = f"{stock.reserved} reserved and {stock.shipped} shipped"
        yield different(f"{figures}, but by its reservations {held} held and {shipped} shipped")
    if stock.erp_on_hand is None:
        yield undecided("the ERP gave no figure of it")
    elif stock.erp_on_hand != stock.received - stock.shipped:
        yield different(f"the ERP has {stock.erp_on_hand}, not {stock.received - stock.shipped}")
