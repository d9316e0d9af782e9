"""Stock and reservations: what is promised to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.errors import Kind, ShopError

# Age from which the ERP's figure is recorded again though it is the same: a stale answer states when it was reported.
_CONFIRMED_AFTER = timedelta(seconds=10)


class State(StrEnum):
    """A reservation is held until it is shipped or released.

    What is held expires at its `expires_at`: it is released automatically unless it was confirmed first; a confirmed
    reservation never expires. Reserving again renews the time, and reserves anew what has expired; a requested release
    and a shipment are final. Orders confirms a reservation before it confirms the order, and only a confirmed
    order can be paid; so what expires never belonged to an order that can be paid.
    """

    HELD = "held"
    SHIPPED = "shipped"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Line:
    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Reservation:
    order_id: str
    state: State
    lines: Sequence[Line]
    expires_at: datetime | None = None

    @property
    def expired(self) -> bool:
        """Whether it was released automatically."""
        return self.state is State.RELEASED and self.expires_at is not None

    def renewed_by(self, expires_at: datetime | None) -> bool:
        """Whether reserving again until `expires_at` lets it last longer. A confirmed one does not expire."""
        return (
            self.state is State.HELD
            and self.expires_at is not None
            and expires_at is not None
            and expires_at > self.expires_at
        )


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Goods that were counted in, or out (`quantity` below zero)."""

    id: str
    product_id: str
    quantity: int
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class Stock:
    """One product's figures. All that was ever `received` is available, reserved or shipped.

    `erp_on_hand` is the ERP's last reported warehouse stock, at `erp_as_of`.
    """

    product_id: str
    received: int
    available: int
    reserved: int
    shipped: int
    erp_on_hand: int
    erp_as_of: datetime

    def outdated_by(self, erp_on_hand: int, now: datetime) -> bool:
        """Whether the ERP's answer of now should be recorded: another figure, or a new time for an old one."""
        return erp_on_hand != self.erp_on_hand or now - self.erp_as_of > _CONFIRMED_AFTER


@dataclass(frozen=True, slots=True)
class Availability:
    product_id: str
    available: int
    stale: bool
    as_of: datetime


def availability(stock: Stock, *, erp_on_hand: int | None, now: datetime) -> Availability:
    """Available stock: our own figure, or the warehouse's where that is lower.

    Without an answer from the ERP (None) its last one is used, and the result marked stale.
    """
    on_hand = stock.erp_on_hand if erp_on_hand is None else erp_on_hand
    available = max(0, min(stock.available, on_hand - stock.reserved))
    stale = erp_on_hand is None
    return Availability(stock.product_id, available, stale, stock.erp_as_of if stale else now)


def out_of_stock(product_ids: Sequence[str]) -> ShopError:
    return ShopError(
        "OUT_OF_STOCK",
        f"not enough of {', '.join(product_ids)} in stock",
        Kind.PRECONDITION,
        product_ids=",".join(product_ids),
    )


def order_closed(order_id: str) -> ShopError:
    return ShopError("ORDER_CLOSED", f"order {order_id} can reserve nothing more", Kind.PRECONDITION)


def reservation_expired(order_id: str) -> ShopError:
    return ShopError("RESERVATION_EXPIRED", f"the reservation of order {order_id} has expired", Kind.PRECONDITION)


def reference_reused(adjustment_id: str) -> ShopError:
    return ShopError("REFERENCE_REUSED", f"the id {adjustment_id} is used for another adjustment", Kind.PRECONDITION)


def not_held(order_id: str, state: State) -> ShopError:
    return ShopError(
        "RESERVATION_NOT_HELD", f"the reservation of order {order_id} is {state}", Kind.PRECONDITION, state=state
    )
