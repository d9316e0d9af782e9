"""Authentication and authorization at the edge: the bearer token (RFC 6750), and the rules that routes declare."""

from __future__ import annotations

from fastapi import Depends
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase

from chassis.auth.identity import (
    AUDIENCE,
    MCP_AUDIENCE,
    Rule,
    TokenVerifier,
    act_as,
    admin,
    bearer,
    check,
    current_principal,
    signed_in,
)
from chassis.errors import ShopError
from chassis.http.middleware import Application, Receive, Scope, Send
from gateway.errors import answer

# Where an old token must not stand in the way of a new one.
_WITHOUT_TOKEN = frozenset(
    {
        "/v1/auth/token",
        "/oauth/authorize",
        "/oauth/token",
        "/oauth/register",
        "/.well-known/jwks.json",
        "/healthz",
        "/readyz",
    }
)
# An agent's token is good at the MCP server alone; a token of the whole shop is good there, too.
_AUDIENCES = {"/mcp": (AUDIENCE, MCP_AUDIENCE)}


class Identity:
    """Pure ASGI: a request acts as the principal of its token, or anonymously without one. A bad token is a 401."""

    def __init__(self, app: Application, verifier: TokenVerifier) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _token(scope)
        if not token:
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._verifier.verify(token, _AUDIENCES.get(scope["path"], (AUDIENCE,)))
        except ShopError as error:
            await answer(error)(scope, receive, send)
            return
        # To the end of the request's own task.
        act_as(principal)
        await self._app(scope, receive, send)


def _token(scope: Scope) -> str:
    if scope["path"] in _WITHOUT_TOKEN:
        return ""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bearer(value.decode("latin-1"))
    return ""


class Requires(SecurityBase):
    """A dependency that lets a route run only for callers for whom a rule holds; it is in the OpenAPI document."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.model = OAuth2Model(flows=OAuthFlows(password=OAuthFlowPassword(tokenUrl="/v1/auth/token")))
        self.scheme_name = "password"

    async def __call__(self) -> None:
        check(self.rule, current_principal())


async def public() -> None:
    """Allow all callers, without a token. A route declares even this, so that a forgotten declaration is found."""


PUBLIC = Depends(public)
SIGNED_IN = Depends(Requires(signed_in))
ADMIN = Depends(Requires(admin))
