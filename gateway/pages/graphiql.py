"""GraphiQL at `/graphql`, for development: completion, documentation, sign-in, subscriptions, and each answer's X-ray.

GraphiQL and React come from the package `graphene-django-graphiql-static`, so that it works without the internet.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.http.header_fields import weights
from gateway.middleware.auth import PUBLIC
from gateway.pages.static_files import own_page, policy, static_file

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

_PACKAGE = "graphene_django_graphiql_static"
_CARRIED = (
    "graphiql.min.css",
    "graphiql.min.js",
    "graphql-ws.min.js",
    "react.production.min.js",
    "react-dom.production.min.js",
)
# Its fonts are in its style sheet. Nothing inline is needed, neither scripts nor styles.
_POLICY = policy("style-src 'self'; font-src data:; img-src data:")


def is_browser(request: Request) -> bool:
    """Whether a request is a browser's that opens the address, without a query."""
    accept = ",".join(request.headers.getlist("accept"))
    return request.method == "GET" and not request.query_params and weights(accept).get("text/html", 0.0) > 0


def graphiql(console_port: int) -> Response:
    """The page; `console_port` is where it leads for an answer's X-ray."""
    return own_page("graphiql.html", _POLICY, vary="Accept", console_port=str(console_port))


@router.get("/graphql/assets/{name}")
async def graphiql_asset(name: str) -> Response:
    own = ("graphiql.js", "graphiql.css")
    return static_file(name, own=own, package=_PACKAGE, folder=f"static/{_PACKAGE}", carried=_CARRIED)
