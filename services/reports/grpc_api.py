"""shop.reports.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.auth.identity import admin, anyone
from chassis.currency import from_minor
from chassis.errors import invalid
from chassis.grpc.timestamps import timestamp
from chassis.pagination import decode_cursor, encode_cursor, page_size
from protos.shop.reports.v1 import reports_pb2 as pb
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceServicer
from services.reports.domain import By, is_day
from services.reports.ports import Progress, Rebuild, Row
from services.reports.use_cases import Reports

# How far the log was read is on the page of metrics, too.
POLICY = {"GetSales": admin, "StartRebuild": admin, "GetRebuild": admin, "GetProgress": anyone}

MAX_PAGE = 100
# Of an amount in a cursor: what fits into 64 bits.
_MAX_DIGITS = 18
_BY = {
    pb.SALES_BY_UNSPECIFIED: By.DAY,
    pb.SALES_BY_DAY: By.DAY,
    pb.SALES_BY_PRODUCT: By.PRODUCT,
    pb.SALES_BY_CUSTOMER: By.CUSTOMER,
}


class ReportApi(ReportServiceServicer):
    def __init__(self, use_cases: Reports) -> None:
        self._reports = use_cases

    async def GetSales(self, request: pb.GetSalesRequest, context: Any) -> pb.GetSalesResponse:
        by = _BY.get(request.by)
        if by is None:
            raise invalid("invalid grouping", by="must be day, product or customer")
        report, first, last = await self._reports.sales(
            by,
            request.first_day,
            request.last_day,
            after=_after(request.cursor, by),
            size=page_size(request.page_size, limit=MAX_PAGE),
        )
        covered = report.coverage
        return pb.GetSalesResponse(
            rows=[_message(row) for row in report.rows],
            next_cursor=_cursor(by, report.last) if report.last else "",
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            since=_moment(covered.since),
            as_of=_moment(covered.as_of),
            gap_at=_moment(covered.gap_at),
            unknown_orders=report.unknown_orders,
        )

    async def StartRebuild(self, request: pb.StartRebuildRequest, context: Any) -> pb.StartRebuildResponse:
        return pb.StartRebuildResponse(rebuild=_rebuild(await self._reports.rebuild()))

    async def GetRebuild(self, request: pb.GetRebuildRequest, context: Any) -> pb.GetRebuildResponse:
        return pb.GetRebuildResponse(rebuild=_rebuild(await self._reports.newest_rebuild()))

    async def GetProgress(self, request: pb.GetProgressRequest, context: Any) -> pb.GetProgressResponse:
        return pb.GetProgressResponse(partitions=map(_partition, await self._reports.progress()))


def _after(cursor: str, by: By) -> tuple[str, int, str] | None:
    """The row after which to go on. Raises INVALID_INPUT unless the cursor is one of this grouping's."""
    if not cursor:
        return None
    of, currency, revenue, key = decode_cursor(cursor, parts=4)
    number = revenue.removeprefix("-")
    is_number = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    if of != by or not is_number or (by is By.DAY and not is_day(key)):
        raise invalid("invalid cursor", cursor="take it from next_cursor")
    return currency, int(revenue), key


def _cursor(by: By, row: Row) -> str:
    return encode_cursor(by, row.currency, str(row.revenue), row.key)


def _message(row: Row) -> pb.SalesRow:
    return pb.SalesRow(
        key=row.key,
        name=row.name,
        currency=row.currency,
        orders=row.orders,
        quantity=row.quantity,
        revenue=str(from_minor(row.revenue, row.currency)),
    )


def _rebuild(rebuild: Rebuild) -> pb.Rebuild:
    return pb.Rebuild(
        generation=rebuild.generation,
        complete=rebuild.complete,
        started_at=timestamp(rebuild.started_at),
        remaining=rebuild.remaining,
    )


def _partition(progress: Progress) -> pb.PartitionProgress:
    return pb.PartitionProgress(
        partition=progress.partition,
        read=progress.read,
        unread=progress.unread,
        first_at=_moment(progress.first_at),
        gap_at=_moment(progress.gap_at),
    )


def _moment(at: datetime | None) -> Timestamp | None:
    return None if at is None else timestamp(at)
