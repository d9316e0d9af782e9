"""Accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.auth.identity import current_principal
from chassis.errors import not_found
from gateway.clients.services import upstreams
from gateway.http import serializers
from gateway.http.disconnects import while_connected
from gateway.http.json_route import JsonRoute
from gateway.http.parameters import id_list, ids_of
from gateway.http.schemas import IdInPath, Registration, User, UserPage
from gateway.http.serializers import json_response
from gateway.middleware.auth import PUBLIC, SIGNED_IN
from gateway.openapi import operation_id, problems
from protos.shop.users.v1 import users_pb2 as pb

router = APIRouter(route_class=JsonRoute, tags=["users"], generate_unique_id_function=operation_id)


@router.post(
    "/v1/users",
    summary="Register as a customer",
    status_code=201,
    response_model=User,
    responses=problems(401, 409, 422),
    dependencies=[PUBLIC],
)
async def register(request: Request, body: Registration) -> Response:
    registration = pb.RegisterUserRequest(name=body.name, email=body.email, password=body.password)
    user = (await while_connected(request, upstreams(request).passwords.RegisterUser(registration))).user
    headers = {"location": f"/v1/users/{user.id}", "cache-control": "no-store"}
    return json_response(serializers.user(user), 201, headers)


@router.get(
    "/v1/users/me",
    summary="The caller's own account",
    response_model=User,
    responses=problems(401, 404),
    dependencies=[SIGNED_IN],
)
async def get_me(request: Request) -> Response:
    return await _user(request, current_principal().subject)


@router.get(
    "/v1/users/{user_id}",
    summary="An account: one's own, or any for an admin",
    response_model=User,
    responses=problems(401, 404, 422),
    dependencies=[SIGNED_IN],
)
async def get_user(request: Request, user_id: IdInPath) -> Response:
    return await _user(request, user_id)


@router.get(
    "/v1/users",
    summary="Several accounts; accounts that the caller may not see are left out",
    response_model=UserPage,
    responses=problems(401, 422),
    dependencies=[SIGNED_IN],
)
async def get_users(request: Request, ids: Annotated[str, ids_of("Comma-separated.", "123,456")]) -> Response:
    found = await upstreams(request).users.GetUsers(pb.GetUsersRequest(ids=id_list("ids", ids)))
    return json_response(serializers.page([serializers.user(user) for user in found.users]))


async def _user(request: Request, user_id: str) -> Response:
    found = await upstreams(request).users.GetUsers(pb.GetUsersRequest(ids=[user_id]))
    if not found.users:
        raise not_found("user", user_id)
    return json_response(serializers.user(found.users[0]))
