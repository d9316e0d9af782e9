"""`shop reports`: sales, counted from the event log, and their rebuild."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from shop.commands.showing import moment
from shop.errors import Refused

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from chassis.grpc.client import Client
    from protos.shop.reports.v1 import reports_pb2 as pb
    from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceAsyncStub

T = TypeVar("T")

app = typer.Typer(help="Show sales, or rebuild them from the event log.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Email = Annotated[
    str, typer.Option(help="The admin to act as; the password is SHOP_PASSWORD's, a demo account's, or prompted for.")
]
_ADMIN = "admin@shop.test"
_TIMEOUT = 10.0
_PAGE = 100
# Seconds between two looks at a rebuild.
_POLL_SECONDS = 0.2


class By(StrEnum):
    """The field to group sales by."""

    DAY = "day"
    PRODUCT = "product"
    CUSTOMER = "customer"


@app.command()
def sales(
    *,
    by: Annotated[By, typer.Option(help="Group the rows by day, product or customer.")] = By.DAY,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="The first day, such as 2026-01-31 (UTC).")] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="The last day; today by default.")] = "",
    json: _Json = False,
    email: _Email = _ADMIN,
) -> None:
    """Show sales, by default of the last 30 days.

    Exit code 0: shown (maybe nothing). 2: invalid days, not signed in as an admin, or reports does not answer.
    """
    report = _call(email, lambda stub, client: _pages(stub, client, by, first, last))
    if json:
        typer.echo(jsonlib.dumps(_as_json(report), indent=2))
        return
    typer.echo(f"{report.first_day} to {report.last_day}, by {by}")
    if report.rows:
        typer.echo(f"{by:<34} {'orders':>8} {'pieces':>8} {'revenue':>16}")
    for row in report.rows:
        name = f"{row.key} {row.name}".rstrip()
        typer.echo(f"{name[:34]:<34} {row.orders:>8} {row.quantity:>8} {row.revenue:>12} {row.currency}")
    typer.echo(f"counted since {_time(report, 'since')}" if report.HasField("since") else "no event was read yet")
    if report.unknown_orders:
        typer.echo(f"{report.unknown_orders} paid orders are not counted: their items are no longer in the log")
    if report.HasField("gap_at"):
        typer.echo(f"events were missing in the log when it was read at {_time(report, 'gap_at')}")


@app.command()
def rebuild(
    *,
    wait: Annotated[bool, typer.Option(help="Wait until the new figures are served.")] = True,
    json: _Json = False,
    email: _Email = _ADMIN,
) -> None:
    """Rebuild all sales from the beginning of the event log.

    The present figures are served until the new ones are complete. A rebuild that is under way is awaited.
    Exit code 0: complete, or with --no-wait under way. 2: not signed in as an admin, or reports does not answer.
    """
    progress = sys.stderr.isatty() and not json
    found = _call(email, lambda stub, client: _rebuild(stub, client, wait=wait, progress=progress))
    if json:
        facts = {"generation": found.generation, "complete": found.complete, "remaining": found.remaining}
        typer.echo(jsonlib.dumps(facts))
    elif found.complete:
        typer.echo(f"rebuild {found.generation} is complete: its figures are served")
    else:
        typer.echo(f"rebuild {found.generation} is under way; {found.remaining} entries of the log are to be read")


async def _rebuild(stub: ReportServiceAsyncStub, client: Client, *, wait: bool, progress: bool) -> pb.Rebuild:
    from protos.shop.reports.v1.reports_pb2 import GetRebuildRequest, StartRebuildRequest

    found = (await client.call(stub.StartRebuild, StartRebuildRequest())).rebuild
    while wait and not found.complete:
        if progress:
            typer.echo(f"\r{found.remaining:>9} entries to be read", nl=False, err=True)
        await asyncio.sleep(_POLL_SECONDS)
        found = (await client.call(stub.GetRebuild, GetRebuildRequest())).rebuild
    if progress and wait:
        typer.echo("\r", nl=False, err=True)
    return found


async def _pages(stub: ReportServiceAsyncStub, client: Client, by: By, first: str, last: str) -> pb.GetSalesResponse:
    """The whole report, in one answer."""
    from protos.shop.reports.v1.reports_pb2 import GetSalesRequest, SalesBy

    wanted = SalesBy.Value(f"SALES_BY_{by.name}")
    request = GetSalesRequest(first_day=first, last_day=last, by=wanted, page_size=_PAGE)
    report = page = await client.call(stub.GetSales, request)
    while page.next_cursor:
        request.cursor = page.next_cursor
        page = await client.call(stub.GetSales, request)
        report.rows.extend(page.rows)
    return report


def _call(email: str, call: Callable[[ReportServiceAsyncStub, Client], Coroutine[Any, Any, T]]) -> T:
    """Call reports, with an admin's token. Raises `Refused`."""
    from chassis.errors import ShopError, fields_named
    from shop import sign_in

    async def calling() -> T:
        async with _reports(token) as (stub, client):
            return await call(stub, client)

    token = sign_in.token(email)
    try:
        with fields_named(first_day="from", last_day="to"):
            return asyncio.run(calling())
    except ShopError as error:
        why = "".join(f"\n  {field}: {reason}" for field, reason in error.fields.items())
        raise Refused(f"reports refused: {error}{why}") from error


@asynccontextmanager
async def _reports(token: str) -> AsyncIterator[tuple[ReportServiceAsyncStub, Client]]:
    from chassis.grpc.client import Client, connect
    from chassis.observability.tracing import Telemetry
    from chassis.settings import ProcessSettings
    from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub
    from shop.commands.processes.certs import COMMAND_LINE
    from shop.urls import url_of

    async def as_admin() -> str:
        return token

    address = url_of("reports", os.environ).rpartition("//")[2]
    async with connect(address, tls=ProcessSettings().tls(COMMAND_LINE)) as channel:
        yield ReportServiceStub(channel), Client("reports", Telemetry("shop"), token=as_admin, timeout=_TIMEOUT)


def _time(report: pb.GetSalesResponse, field: str) -> str:
    at: Timestamp = getattr(report, field)
    return moment(at.ToDatetime(UTC))


def _as_json(report: pb.GetSalesResponse) -> dict[str, Any]:
    times = ("since", "as_of", "gap_at")
    return {
        "from": report.first_day,
        "to": report.last_day,
        **{field: _time(report, field) if report.HasField(field) else None for field in times},  # type: ignore[arg-type]
        "unknown_orders": report.unknown_orders,
        "items": [
            {
                "key": row.key,
                "name": row.name or None,
                "currency": row.currency,
                "orders": row.orders,
                "quantity": row.quantity,
                "revenue": row.revenue,
            }
            for row in report.rows
        ],
    }
