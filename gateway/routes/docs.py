"""The documentation page: Swagger UI from the package `fastapi-swagger`, so that it works without the internet."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from chassis.errors import not_found

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Polyglot Shop: REST API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
# A file of its own: a page whose policy allows inline scripts would run anybody's.
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  displayRequestDuration: true,
});
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_PACKAGE = "fastapi_swagger.resources"
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_DAY = {"cache-control": "public, max-age=86400"}


@router.get("/docs")
async def docs() -> Response:
    return Response(_PAGE, 200, {"content-security-policy": _POLICY, "cache-control": "no-cache"}, "text/html")


@router.get("/docs/{asset}")
async def docs_asset(asset: str) -> Response:
    if asset == "start.js":
        return Response(_START, 200, _DAY, "text/javascript")
    if asset not in _ASSETS:
        raise not_found("asset", asset)
    return Response((files(_PACKAGE) / asset).read_bytes(), 200, _DAY, _ASSETS[asset])
