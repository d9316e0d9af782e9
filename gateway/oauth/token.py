"""The token endpoint (OAuth 2.1, section 4.1.3) and dynamic client registration (RFC 7591)."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from chassis import json_text
from chassis.errors import fields_named
from gateway.clients.services import upstreams
from gateway.http.disconnects import while_connected
from gateway.http.serializers import json_response
from gateway.middleware.auth import PUBLIC
from gateway.oauth.errors import OAuthError, in_oauths_words
from gateway.oauth.metadata import REGISTER, TOKEN
from gateway.oauth.parameters import Parameters, check_is_form
from gateway.oauth.protected_resource import PATH, SCOPE, base_url
from protos.shop.users.v1.users_pb2 import RedeemCodeRequest, RegisterClientRequest

router = APIRouter(dependencies=[PUBLIC], include_in_schema=False)

_MAX_FIELDS = 30
_GRANT = "authorization_code"


class ClientMetadata(BaseModel):
    """The fields that are read of a client's metadata (RFC 7591, section 2); `users` checks them."""

    redirect_uris: list[str]
    client_name: str = ""
    grant_types: list[str] = [_GRANT]
    response_types: list[str] = ["code"]


@router.post(TOKEN)
async def redeem(request: Request) -> Response:
    """Exchange an authorization code for an access token, whose audience is the MCP server alone."""
    check_is_form(request.headers.get("content-type", ""))
    try:
        async with request.form(max_files=0, max_fields=_MAX_FIELDS) as form:
            given = Parameters(form)  # type: ignore[arg-type]  # without files
            return await _token(request, given)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise OAuthError("invalid_request", "send a well-formed form without files") from error


async def _token(request: Request, given: Parameters) -> Response:
    if given.required("grant_type") != _GRANT:
        raise OAuthError("unsupported_grant_type", f"grant_type must be {_GRANT}")
    given.check_resource(base_url(request.scope, request.app.state.public_url) + PATH)
    code = RedeemCodeRequest(
        code=given.required("code"),
        client_id=given.required("client_id"),
        # Not sent by clients of OAuth 2.1 alone (section 10.2): PKCE is what binds the code to its client.
        redirect_uri=given.one("redirect_uri"),
        code_verifier=given.required("code_verifier"),
    )
    with in_oauths_words(INVALID_GRANT="invalid_grant"):
        issued = await while_connected(request, upstreams(request).users.RedeemCode(code))
    return json_response(
        {
            "access_token": issued.access_token,
            "token_type": "Bearer",  # nosec B105 # the token's type
            "expires_in": issued.expires_in,
            "scope": SCOPE,
        }
    )


@router.post(REGISTER)
async def register(request: Request) -> Response:
    """Register a public client. A secret is not given, whatever method it requests (RFC 7591, section 3.2.1)."""
    base_url(request.scope, request.app.state.public_url)  # without one no client can sign its user in
    try:
        wanted = ClientMetadata.model_validate(json_text.parsed(await request.body()))
    except (ValidationError, ValueError, RecursionError) as error:
        raise OAuthError("invalid_client_metadata", "send JSON with redirect_uris and client_name") from error
    if _GRANT not in wanted.grant_types or "code" not in wanted.response_types:
        raise OAuthError("invalid_client_metadata", f"grant_types must have {_GRANT}, response_types code")
    with in_oauths_words(INVALID_INPUT="invalid_redirect_uri"), fields_named(name="client_name"):
        registration = RegisterClientRequest(name=wanted.client_name, redirect_uris=wanted.redirect_uris)
        client = (await while_connected(request, upstreams(request).users.RegisterClient(registration))).client
    return json_response(
        {
            "client_id": client.id,
            "client_id_issued_at": client.registered_at.seconds,
            "client_name": client.name,
            "redirect_uris": [*client.redirect_uris],
            "grant_types": [_GRANT],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",  # nosec B105 # there is no secret
            "scope": SCOPE,
        },
        201,
    )
