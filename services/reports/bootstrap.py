"""The composition root of reports: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from chassis.background import forever
from chassis.broker.groups.consumer_group import ConsumerGroup
from chassis.broker.groups.gauges import GroupGauges
from chassis.broker.outbox import Outbox
from chassis.process import Running
from chassis.service import service
from chassis.settings import ProcessSettings
from protos.shop.reports.v1.reports_pb2_grpc import add_ReportServiceServicer_to_server
from services.reports.consumer import SalesConsumer
from services.reports.grpc_api import POLICY, ReportApi
from services.reports.sql_store.generations import Generations
from services.reports.sql_store.sales import SqlSalesStore
from services.reports.sql_store.tables import group, outbox
from services.reports.use_cases import Reports

MIGRATIONS = Path(__file__).parent / "migrations"
# Seconds between two events with changed figures, so that many sales are one.
_PUBLISH_SECONDS = 1.0


class Settings(ProcessSettings):
    reports_port: int = 50058
    # Seconds for which a copy that shows no sign of life keeps its partitions of the event log.
    reports_lease: Annotated[float, Field(ge=0.2, le=3_600)] = 6.0


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Read the event log, and serve shop.reports.v1, until the block ends."""
    settings = settings or Settings()
    async with service("reports", settings) as s:
        db = await s.database("reports", MIGRATIONS)
        broker = await s.broker()
        out = Outbox(outbox, db, broker, s.telemetry)
        consumers = ConsumerGroup(group, db, broker.log, lease=timedelta(seconds=settings.reports_lease))
        generations = Generations(db, broker.log, consumers.changed)
        store = SqlSalesStore(db, consumers, generations, out)
        s.on_end(consumers.leave)
        await s.background(
            consumers.follow(generations.groups, SalesConsumer(store).handle),
            forever(store.publish_changes, name="sales news", every=_PUBLISH_SECONDS),
            generations.sweep(),
            out.relay(),
        )
        if s.telemetry.metrics is not None:
            await s.background(GroupGauges(s.telemetry.metrics, group[0], db, broker.log).follow())
        port = await s.serve(
            (add_ReportServiceServicer_to_server, ReportApi(Reports(store, generations, generations))),
            policy=POLICY,
            port=settings.reports_port,
        )
        yield Running(port)
