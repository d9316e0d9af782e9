"""The console's views for administrators: an order's X-ray, and the audit of all orders."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import Kind, ShopError
from gateway.clients.services import upstreams
from gateway.http.schemas import IdInPath
from gateway.http.streaming import Streamed
from gateway.middleware.auth import ADMIN

# Not in the OpenAPI document: the console's own format, and only where there is a console.
router = APIRouter(dependencies=[ADMIN], include_in_schema=False)

_TO_CLIENT = ("content-type", "retry-after")


@router.get("/v1/orders/{order_id}/xray")
async def explain_order(request: Request, order_id: IdInPath) -> Response:
    """The hops of an order, without their bytes."""
    return await _from_console(request, "GET", f"/api/orders/{order_id}/xray", "wire=false")


@router.post("/v1/audit")
async def audit(request: Request) -> Response:
    """Judge every order by all books (`shop audit`)."""
    return await _from_console(request, "POST", "/api/audit")


async def _from_console(request: Request, method: str, path: str, query: str = "") -> Response:
    console = upstreams(request).http.console
    if console is None:
        raise ShopError("NOT_FOUND", "traces are not available: the gateway has no console", Kind.NOT_FOUND)
    async with AsyncExitStack() as source:
        answer = await source.enter_async_context(console.request(method, path, query, {}))
        passed_on = {name: answer.headers[name] for name in _TO_CLIENT if name in answer.headers}
        headers = {**passed_on, "cache-control": "no-store"}
        return Streamed(answer.content.iter_any(), source.pop_all(), status=answer.status, headers=headers)
