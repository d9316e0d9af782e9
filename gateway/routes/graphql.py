"""GraphQL, forwarded unchanged to graphql_server. A browser that opens the address gets GraphiQL."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.clients.services import upstreams
from gateway.http.streaming import Streamed
from gateway.middleware.auth import PUBLIC
from gateway.pages.explorers import pages
from gateway.pages.graphiql import graphiql, is_browser

# Not in the OpenAPI document: GraphQL has its own schema.
router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

_TO_SERVER = ("authorization", "accept", "content-type", "x-request-id")
_TO_CLIENT = (
    "content-type",
    "content-length",
    "content-security-policy",
    "allow",
    "cache-control",
    "vary",
    "retry-after",
    "www-authenticate",
)
_PIECE = 64 << 10


@router.api_route("/graphql", methods=["GET", "POST"])
async def graphql(request: Request) -> Response:
    shown = pages(request)
    if shown.explorers and is_browser(request):
        return graphiql(shown.console_port)
    headers = {name: request.headers[name] for name in _TO_SERVER if name in request.headers}
    body = await request.body()
    async with AsyncExitStack() as source:
        answer = await source.enter_async_context(
            upstreams(request).http.graphql.request(request.method, "/graphql", request.url.query, headers, body)
        )
        passed_on = {name: answer.headers[name] for name in _TO_CLIENT if name in answer.headers}
        chunks = answer.content.iter_chunked(_PIECE)
        return Streamed(chunks, source.pop_all(), status=answer.status, headers=passed_on)
