"""`/asyncapi`: events, WebSockets and webhooks, drawn from the AsyncAPI document at `/asyncapi.json`.

The viewer comes from the package `asyncapi-viewer`, so that it works without the internet. Shown in development.
"""

from __future__ import annotations

from functools import cache

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import not_found
from gateway.middleware.auth import PUBLIC
from gateway.pages.explorers import pages
from gateway.pages.static_files import own_page, policy, static_file
from protos.asyncapi.document import document

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

_CARRIED = ("asyncapi-viewer.iife.js", "asyncapi-theme.css")
# The viewer puts its style sheet into its own shadow tree.
_POLICY = policy("style-src 'self' 'unsafe-inline'; img-src 'self' data:")


@cache
def _document() -> bytes:
    return orjson.dumps(document())


def _only_in_development(request: Request) -> None:
    if not pages(request).explorers:
        raise not_found("page", request.url.path)


@router.get("/asyncapi")
async def asyncapi(request: Request) -> Response:
    _only_in_development(request)
    return own_page("asyncapi.html", _POLICY, vary="Accept")


@router.get("/asyncapi.json")
async def asyncapi_document(request: Request) -> Response:
    _only_in_development(request)
    return Response(_document(), 200, {"cache-control": "no-cache"}, "application/json")


@router.get("/asyncapi/assets/{name}")
async def asyncapi_asset(name: str) -> Response:
    return static_file(name, own=("asyncapi.css",), package="asyncapi_viewer", folder="static", carried=_CARRIED)
