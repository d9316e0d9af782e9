"""What the metrics of a consumer group say of the log that it reads."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from chassis import wall_clock
from chassis.background import background
from chassis.broker import connect
from chassis.broker.groups.gauges import GroupGauges
from chassis.broker.port import Topology
from chassis.database.database import database
from chassis.observability.metrics import Metrics
from services.reports.bootstrap import MIGRATIONS
from services.reports.sql_store.tables import group
from tests.contract.events import an_event
from tests.waiting import eventually

partitions = group[0]


async def test_a_group_s_lag_is_what_it_has_not_read_and_ends_with_the_group(tmp_path: Path) -> None:
    """Of five entries two are read: three are shown, none once all are read, and nothing once the group is dropped."""
    metrics = Metrics()
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology("test", "log", {}))
    try:
        await broker.log.append([an_event() for _ in range(5)])
        async with database(f"sqlite:///{tmp_path / 'reports.sqlite'}", MIGRATIONS) as db:

            def begin(connection: Connection) -> None:
                row = {"consumer_group": "sales", "partition": 0, "log": "embedded", "read": 2}
                connection.execute(partitions.insert(), {**row, "owner": "", "leased_until": wall_clock.now()})

            def catch_up(connection: Connection) -> None:
                connection.execute(partitions.update().values(read=5))

            def drop(connection: Connection) -> None:
                connection.execute(partitions.delete())

            await db.write(begin)
            async with background(GroupGauges(metrics, partitions, db, broker.log).follow()):
                for change, expected in ((None, 3.0), (catch_up, 0.0), (drop, None)):
                    if change is not None:
                        await db.write(change)

                    async def shown(expected: float | None = expected) -> bool:
                        labels = {"group": "sales", "partition": "0"}
                        return metrics.registry.get_sample_value("log_group_lag_events", labels) == expected

                    await eventually(shown, within=20)
    finally:
        await broker.close()
