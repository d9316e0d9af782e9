"""The documentation page: Swagger UI from the package `fastapi-swagger`, so that it works without the internet."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.middleware.auth import PUBLIC
from gateway.pages.static_files import own_page, policy, static_file

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

_CARRIED = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
_POLICY = policy("style-src 'self' 'unsafe-inline'; img-src 'self' data:", forms="'self'")


@router.get("/docs")
async def docs() -> Response:
    return own_page("docs.html", _POLICY)


@router.get("/docs/{asset}")
async def docs_asset(asset: str) -> Response:
    return static_file(asset, own=("docs.js",), package="fastapi_swagger", folder="resources", carried=_CARRIED)
