"""Metrics of consumer groups: how many entries of the event log wait to be read."""

from __future__ import annotations

from sqlalchemy import Table, select

from chassis.background import forever
from chassis.broker.event_log import EventLog
from chassis.database.database import Database
from chassis.observability.metrics import Metrics

_EVERY = 2.0


class GroupGauges:
    """`log_group_lag_events` by consumer group and partition: entries of the event log that were not counted yet.

    Every copy of a service shows the same figures, from the offsets in its database: to be taken by their maximum. A
    few may be no events (in Kafka the ends of transactions), which a group passes within a second.
    """

    def __init__(self, metrics: Metrics, partitions: Table, database: Database, log: EventLog) -> None:
        """`partitions`: the first table of `group_tables`."""
        columns = partitions.c
        self._read = select(columns.consumer_group, columns.partition, columns.read).where(columns.log == log.system)
        self._database = database
        self._log = log
        self._lag = metrics.gauge(
            "log_group_lag_events", "Entries of the event log that a group has not read", "group", "partition"
        )
        self._shown: frozenset[tuple[str, str]] = frozenset()

    async def follow(self) -> None:
        """Look every two seconds while the process lives."""
        await forever(self._look, name="consumer group metrics", every=_EVERY)

    async def _look(self) -> None:
        # The offsets first: what is read in between counts as lag, and none is below zero.
        rows = await self._database.read(lambda connection: connection.execute(self._read).all())
        end = await self._log.last_position()
        found = {(row.consumer_group, str(row.partition)): end.offset(row.partition) - row.read for row in rows}
        for labels in self._shown - found.keys():  # the group was dropped
            self._lag.remove(*labels)
        for labels, behind in found.items():
            self._lag.labels(*labels).set(max(0, behind))
        self._shown = frozenset(found)
