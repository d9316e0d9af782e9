"""The start page of the client-facing port."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.http.app import start_route
from chassis.webpages.start_page import Link, OtherPorts, StartPage
from gateway.middleware.auth import PUBLIC
from gateway.pages.explorers import Pages, pages

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

ABOUT = "The way in for clients: REST under /v1, GraphQL at /graphql. Identity, limits and caching happen here."
LINKS = (
    Link("/docs", "REST", "the API's pages, to try it in the browser"),
    Link("/openapi.json", "OpenAPI", "the same as a document, for generators of clients"),
    Link("/v1/products", "/v1/products", "the catalogue, public"),
    Link("/.well-known/jwks.json", "Signing keys", "public keys that verify access tokens"),
    Link("/readyz", "/readyz", "readiness of all upstreams"),
    Link("/metrics", "/metrics", "for Prometheus"),
)
DEVELOPMENT = (
    Link("/graphql", "GraphiQL", "GraphQL, with completion, documentation and subscriptions"),
    Link("/asyncapi", "AsyncAPI", "events, WebSockets and webhooks"),
    Link("/problems", "Error codes", "meaning and remedy of each code"),
)
EXAMPLE = """curl localhost:8000/v1/products/42
curl localhost:8000/v1/orders -H "Authorization: Bearer $(shop token demo@shop.test)\""""


def pages_of(env: str) -> Pages:
    """The pages in an environment."""
    explorers = env == "development"
    links = (*DEVELOPMENT, *LINKS) if explorers else LINKS
    start = StartPage.of("Gateway", ABOUT, *links, example=EXAMPLE, env=env)
    return Pages(start, explorers, OtherPorts().console_port)


@router.get("/")
async def start(request: Request) -> Response:
    return await start_route(pages(request).start)(request)
