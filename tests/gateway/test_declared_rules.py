"""Every route declares who may call it, and what it declares is enforced when it is called.

Which rule each route has to declare is in the table of `tests/system/test_every_route.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Route

from chassis.auth.identity import ANONYMOUS, Principal, Rule, anyone
from gateway.app import create_api
from gateway.middleware.auth import PUBLIC, Requires, public
from tests.gateway.fakes import Shop

CUSTOMER, ADMIN = Principal("123", "customer"), Principal("1", "admin")


def routes() -> list[APIRoute]:
    """Every route of the gateway but FastAPI's own page with the OpenAPI document."""
    found = create_api().router.routes
    others = [each.path for each in found if isinstance(each, Route) and not isinstance(each, APIRoute)]
    assert others == ["/openapi.json"]
    return [each for each in found if isinstance(each, APIRoute)]


def rules_of(dependant: Dependant) -> Iterator[Rule]:
    """What a route declares: its own dependencies and those of its router, wherever they are nested."""
    for each in dependant.dependencies:
        if isinstance(each.call, Requires):
            yield each.call.rule
        elif each.call is public:
            yield anyone
        yield from rules_of(each)


def declared(route: APIRoute) -> Rule:
    """The one rule of a route. Fails for a route that declares none, or more than one."""
    rules = list(rules_of(route.dependant))
    assert len(rules) == 1, (
        f"{sorted(route.methods or ())} {route.path} has to declare PUBLIC, SIGNED_IN or ADMIN, once"
    )
    return rules[0]


ROUTES = [(method, route.path, declared(route)) for route in routes() for method in sorted(route.methods or ())]


def test_a_route_without_a_declaration_is_found() -> None:
    """A route that forgets to say who may call it fails the walk; so does one that says it twice."""
    router = APIRouter()

    @router.get("/nothing")
    async def nothing() -> None: ...

    @router.get("/twice", dependencies=[PUBLIC, PUBLIC])
    async def twice() -> None: ...

    for route in router.routes:
        assert isinstance(route, APIRoute)
        with pytest.raises(AssertionError, match="has to declare"):
            declared(route)


async def test_what_a_route_declares_is_enforced(shop: Shop) -> None:
    """Called without a token, by a customer and by an admin, each route admits exactly the callers of its rule."""
    callers: list[tuple[Principal, dict[str, str]]] = [
        (ANONYMOUS, {}),
        (CUSTOMER, await shop.signed_in()),
        (ADMIN, await shop.admin()),
    ]
    wrong = []
    for method, path, rule in ROUTES:
        for principal, headers in callers:
            response = await shop.client.request(method, re.sub(r"\{\w+\}", "42", path), headers=headers)
            refused = response.status_code in (401, 403)
            # A form of another page is refused, with any credentials: `tests/system/test_every_route.py` sends our own.
            if refused is (rule(principal) and (method, path) != ("POST", "/oauth/authorize")):
                wrong.append((method, path, principal.role, response.status_code))
    assert wrong == []
