"""The documentation page: Swagger UI from the package `fastapi-swagger`, so that it works without the internet."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.middleware.auth import PUBLIC
from gateway.pages.static_files import static_file

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

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
# A file of its own: a page whose policy allows inline scripts would run injected ones too.
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
_CARRIED = ("resources/swagger-ui-bundle.js", "resources/swagger-ui.css", "resources/favicon-32x32.png")
_DAY = {"cache-control": "public, max-age=86400"}


@router.get("/docs")
async def docs() -> Response:
    return Response(_PAGE, 200, {"content-security-policy": _POLICY, "cache-control": "no-cache"}, "text/html")


@router.get("/docs/{asset}")
async def docs_asset(asset: str) -> Response:
    if asset == "start.js":
        return Response(_START, 200, _DAY, "text/javascript")
    return static_file(asset, own=(), package="fastapi_swagger", carried=_CARRIED)
