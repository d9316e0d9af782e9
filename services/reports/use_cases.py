"""The use cases of reports, in plain types."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from chassis import wall_clock
from services.reports.domain import By, period
from services.reports.ports import Progress, Readings, Rebuild, Rebuilds, Report, SalesStore


class Reports:
    def __init__(self, store: SalesStore, rebuilds: Rebuilds, readings: Readings) -> None:
        self._store = store
        self._rebuilds = rebuilds
        self._readings = readings

    async def sales(
        self, by: By, first: str, last: str, *, after: tuple[str, int, str] | None, size: int
    ) -> tuple[Report, date, date]:
        """Sales from the first day to the last. Raises INVALID_INPUT for days that make no report."""
        since, until = period(first, last, wall_clock.now().date())
        return await self._store.sales(by, since, until, after, size), since, until

    async def rebuild(self) -> Rebuild:
        return await self._rebuilds.start()

    async def newest_rebuild(self) -> Rebuild:
        return await self._rebuilds.newest()

    async def progress(self) -> Sequence[Progress]:
        return await self._readings.progress()
