"""Metadata documents: how a client signs in at /mcp (RFC 9728, RFC 8414)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.http.serializers import json_response
from gateway.middleware.auth import PUBLIC
from gateway.oauth.protected_resource import METADATA_PATH, PATH, SCOPE, base_url

# Not in the OpenAPI document: these documents describe it.
router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

AUTHORIZE, TOKEN, REGISTER = "/oauth/authorize", "/oauth/token", "/oauth/register"  # nosec B105 # paths


@router.get(METADATA_PATH)
async def protected_resource(request: Request) -> Response:
    """OAuth 2.0 protected resource metadata (RFC 9728)."""
    base = base_url(request.scope, request.app.state.public_url)
    return json_response(
        {
            "resource": base + PATH,
            "resource_name": "Polyglot Shop, for agents",
            "authorization_servers": [base],
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "scopes_supported": [SCOPE],
            "bearer_methods_supported": ["header"],
        },
        headers={"cache-control": "no-store"},
    )


@router.get("/.well-known/oauth-authorization-server")
async def authorization_server(request: Request) -> Response:
    """OAuth 2.0 authorization server metadata (RFC 8414)."""
    base = base_url(request.scope, request.app.state.public_url)
    return json_response(
        {
            "issuer": base,
            "authorization_endpoint": base + AUTHORIZE,
            "token_endpoint": base + TOKEN,
            "registration_endpoint": base + REGISTER,
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "scopes_supported": [SCOPE],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        },
        headers={"cache-control": "no-store"},
    )
