"""Reports: what was sold, for administrators."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import fields_named
from gateway.clients.services import upstreams
from gateway.http import serializers
from gateway.http.etags import content_etag, none_match
from gateway.http.parameters import Cursor, IfNoneMatch, Limit
from gateway.http.schemas import DAY, SalesReport
from gateway.middleware.auth import ADMIN
from gateway.openapi import operation_id, problems
from protos.shop.reports.v1 import reports_pb2 as pb

router = APIRouter(tags=["reports"], generate_unique_id_function=operation_id)

# The caller may keep it, and revalidates it each time.
_OWN = "private, no-cache"


@router.get(
    "/v1/reports/sales",
    summary="Sales by day, product or customer (admin)",
    response_model=SalesReport,
    responses={304: {"description": "Not modified"}, **problems(401, 403, 412, 422)},
    dependencies=[ADMIN],
)
async def get_sales(
    request: Request,
    by: Annotated[
        Literal["day", "product", "customer"], Query(description="Field to group the rows by; one sum per currency.")
    ] = "day",
    first_day: Annotated[
        str, Query(alias="from", pattern=DAY, description="The first day (UTC); 29 days before `to` by default.")
    ] = "",
    last_day: Annotated[
        str, Query(alias="to", pattern=DAY, description="The last day (UTC), at most 365 days later; else today.")
    ] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    if_none_match: IfNoneMatch = None,
) -> Response:
    query = pb.GetSalesRequest(
        first_day=first_day,
        last_day=last_day,
        by=pb.SalesBy.Value(f"SALES_BY_{by.upper()}"),
        page_size=limit,
        cursor=cursor,
    )
    with fields_named(first_day="from", last_day="to", page_size="limit"):
        found = await upstreams(request).reports.GetSales(query)
    body = serializers.encoded(serializers.sales(found, by))
    headers = {"etag": content_etag(body), "cache-control": _OWN}
    if not none_match(if_none_match, headers["etag"]):
        return Response(None, 304, headers)
    return Response(body, 200, headers, "application/json")
