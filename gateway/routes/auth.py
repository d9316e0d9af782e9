"""Tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from gateway.clients.services import upstreams
from gateway.http.disconnects import while_connected
from gateway.http.json_route import JsonRoute
from gateway.http.schemas import PasswordGrant, Token
from gateway.http.serializers import json_response
from gateway.middleware.auth import PUBLIC
from gateway.openapi import operation_id, problems
from gateway.sign_in_failures import SignInFailures
from protos.shop.users.v1.users_pb2 import IssueTokenRequest

router = APIRouter(
    route_class=JsonRoute, dependencies=[PUBLIC], tags=["auth"], generate_unique_id_function=operation_id
)


@router.post(
    "/v1/auth/token",
    summary="Exchange an email and a password for a token",
    response_model=Token,
    responses=problems(401, 422),
)
async def issue_token(request: Request, grant: Annotated[PasswordGrant, Form()]) -> Response:
    failures: SignInFailures = request.app.state.sign_in_failures
    async with failures.attempt(grant.username):
        credentials = IssueTokenRequest(email=grant.username, password=grant.password)
        issued = await while_connected(request, upstreams(request).passwords.IssueToken(credentials))
    return json_response({"access_token": issued.access_token, "token_type": "Bearer", "expires_in": issued.expires_in})  # nosec B105 # the token's type
