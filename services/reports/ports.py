"""The ports of the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from chassis.broker.groups.consumer_group import Batch
from services.reports.domain import By, Fact


@dataclass(frozen=True, slots=True)
class Row:
    """Sales of a day, a product or a customer in one currency; `revenue` in minor units."""

    key: str
    name: str
    currency: str
    orders: int
    quantity: int
    revenue: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of the figures: from when on events were read, until when, and when some were found missing."""

    since: datetime | None
    as_of: datetime | None
    gap_at: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """Rows, what they cover, and how many paid orders are not in them. `last` is the last row if more follow it."""

    rows: Sequence[Row]
    last: Row | None
    coverage: Coverage
    unknown_orders: int


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A reading of the log from its beginning; `remaining` entries are to be read, as the log was when it began."""

    generation: int
    complete: bool
    started_at: datetime
    remaining: int


class SalesStore(Protocol):
    async def sales(self, by: By, first: date, last: date, after: tuple[str, int, str] | None, size: int) -> Report:
        """At most `size` rows, from one state of the figures.

        `after`: currency, revenue and key of the last row of the page before; by day, only currency and key count.
        """


class Effects(Protocol):
    async def apply(self, batch: Batch, facts: Sequence[Fact]) -> None:
        """Store what the facts change, and how far the log was read, in one transaction. Raises `LeaseLost`."""


class Rebuilds(Protocol):
    async def start(self) -> Rebuild:
        """Begin a rebuild; the one that is under way, if one is. Raises BROKER_UNAVAILABLE while the log is away."""

    async def newest(self) -> Rebuild:
        """The newest rebuild, which may be complete."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress in a partition of the event log, for the figures that are served.

    `unread` entries are not in them yet; `first_at` and `gap_at` as in `Coverage`.
    """

    partition: int
    read: int
    unread: int
    first_at: datetime | None
    gap_at: datetime | None


class Readings(Protocol):
    async def progress(self) -> Sequence[Progress]:
        """Each partition of the log. Raises BROKER_UNAVAILABLE while the log is away."""
