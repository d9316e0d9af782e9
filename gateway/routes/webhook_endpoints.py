"""Webhook endpoints: addresses that get webhooks about orders (Standard Webhooks)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.clients.services import upstreams
from gateway.http.json_route import JsonRoute
from gateway.http.parameters import Cursor, Limit
from gateway.http.schemas import IdInPath, Page, Write
from gateway.http.serializers import Json, json_response, page
from gateway.middleware.auth import SIGNED_IN
from gateway.openapi import operation_id, problems
from protos.shop.webhooks.v1 import webhooks_pb2 as pb

router = APIRouter(
    route_class=JsonRoute, tags=["webhooks"], dependencies=[SIGNED_IN], generate_unique_id_function=operation_id
)

EventType = Annotated[
    str,
    Field(
        pattern=r"^order\.(\*|placed|delayed|confirmed|rejected|paid|shipped|delivered|cancelled|refund_due)$",
        examples=["order.*"],
    ),
]
Url = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[!-~]+$", examples=["https://example.com/hooks"])]
EndpointDescription = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class NewEndpoint(Write):
    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.com/hooks"}]})

    url: Url
    event_types: list[EventType] = Field(default=["order.*"], min_length=1, max_length=10)
    description: EndpointDescription = ""


class EndpointPatch(Write):
    """The fields to change; the others keep their values (RFC 7396)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    # Defaults that no document shows and no client sends: absent is not null.
    url: Url = Field(default_factory=str)
    event_types: list[EventType] = Field(default_factory=list, min_length=1, max_length=10)
    description: EndpointDescription = Field(default_factory=str)
    enabled: bool = Field(default_factory=bool)


class Endpoint(BaseModel):
    id: str
    owner_id: str
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="Reason for which the shop disabled it; null if it did not.")
    created_at: datetime


class CreatedEndpoint(Endpoint):
    secret: str = Field(description="Signs every delivery (whsec_…). It is not shown again.")


class RotatedSecret(BaseModel):
    secret: str = Field(description="Signs every delivery from now on (whsec_…). It is not shown again.")
    old_secret_until: datetime = Field(description="Time until which the replaced secret signs every delivery, too.")


class Attempt(BaseModel):
    number: int
    at: datetime
    duration_ms: int
    status_code: int | None = Field(description="HTTP status of the answer; null without an answer.")
    error: str | None
    response: str = Field(description="The beginning of the answer's body.")


class Delivery(BaseModel):
    id: str = Field(description="The `webhook-id` of every attempt.")
    endpoint_id: str
    event_id: str
    event_type: str
    order_id: str
    status: Literal["pending", "delivered", "failed"]
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[Attempt]


class EndpointPage(Page[Endpoint]): ...


class DeliveryPage(Page[Delivery]): ...


@router.post(
    "/v1/webhook-endpoints",
    summary="Register an endpoint; its secret is shown here and nowhere else",
    status_code=201,
    response_model=CreatedEndpoint,
    responses=problems(401, 403, 409, 422),
)
async def create_webhook_endpoint(request: Request, body: NewEndpoint) -> Response:
    wanted = pb.CreateEndpointRequest(url=body.url, event_types=body.event_types, description=body.description)
    created = await upstreams(request).webhook_endpoints.CreateEndpoint(wanted)
    headers = {"location": f"/v1/webhook-endpoints/{created.endpoint.id}", "cache-control": "no-store"}
    return json_response({**_endpoint(created.endpoint), "secret": created.secret}, 201, headers)


@router.get(
    "/v1/webhook-endpoints",
    summary="The caller's endpoints, newest first; all for an admin",
    response_model=EndpointPage,
    responses=problems(401, 403, 422),
)
async def list_webhook_endpoints(request: Request, limit: Limit = 20, cursor: Cursor = "") -> Response:
    wanted = pb.ListEndpointsRequest(page_size=limit, cursor=cursor)
    found = await upstreams(request).webhook_endpoints.ListEndpoints(wanted)
    return json_response(page([_endpoint(endpoint) for endpoint in found.endpoints], found.next_cursor))


@router.get(
    "/v1/webhook-endpoints/{endpoint_id}",
    summary="An endpoint",
    response_model=Endpoint,
    responses=problems(401, 403, 404, 422),
)
async def get_webhook_endpoint(request: Request, endpoint_id: IdInPath) -> Response:
    found = await upstreams(request).webhook_endpoints.GetEndpoint(pb.GetEndpointRequest(id=endpoint_id))
    return json_response(_endpoint(found.endpoint))


@router.patch(
    "/v1/webhook-endpoints/{endpoint_id}",
    summary="Change an endpoint; enabling it resumes its waiting deliveries",
    response_model=Endpoint,
    responses=problems(401, 403, 404, 422),
)
async def update_webhook_endpoint(request: Request, endpoint_id: IdInPath, body: EndpointPatch) -> Response:
    changes = body.model_dump(exclude_unset=True)
    change = pb.UpdateEndpointRequest(id=endpoint_id, **changes)
    updated = await upstreams(request).webhook_endpoints.UpdateEndpoint(change)
    return json_response(_endpoint(updated.endpoint))


@router.post(
    "/v1/webhook-endpoints/{endpoint_id}/secret/rotate",
    summary="Replace an endpoint's secret; for a while, deliveries carry signatures by both",
    response_model=RotatedSecret,
    responses=problems(401, 403, 404, 409, 422),
)
async def rotate_webhook_secret(request: Request, endpoint_id: IdInPath) -> Response:
    rotated = await upstreams(request).webhook_endpoints.RotateSecret(pb.RotateSecretRequest(id=endpoint_id))
    return json_response({"secret": rotated.secret, "old_secret_until": _time(rotated.old_secret_until)})


@router.delete(
    "/v1/webhook-endpoints/{endpoint_id}",
    summary="Delete an endpoint and its deliveries",
    status_code=204,
    responses=problems(401, 403, 404, 422),
)
async def delete_webhook_endpoint(request: Request, endpoint_id: IdInPath) -> Response:
    await upstreams(request).webhook_endpoints.DeleteEndpoint(pb.DeleteEndpointRequest(id=endpoint_id))
    return Response(status_code=204)


@router.get(
    "/v1/webhook-endpoints/{endpoint_id}/deliveries",
    summary="An endpoint's deliveries, newest first, with every attempt",
    response_model=DeliveryPage,
    responses=problems(401, 403, 404, 422),
)
async def list_webhook_deliveries(
    request: Request, endpoint_id: IdInPath, limit: Limit = 20, cursor: Cursor = ""
) -> Response:
    wanted = pb.ListDeliveriesRequest(endpoint_id=endpoint_id, page_size=limit, cursor=cursor)
    found = await upstreams(request).webhook_endpoints.ListDeliveries(wanted)
    return json_response(page([_delivery(delivery) for delivery in found.deliveries], found.next_cursor))


@router.post(
    "/v1/webhook-endpoints/{endpoint_id}/deliveries/{delivery_id}/redeliver",
    summary="Send a delivery again, now, under the same id",
    status_code=202,
    response_model=Delivery,
    responses=problems(401, 403, 404, 409, 422),
)
async def redeliver_webhook(request: Request, endpoint_id: IdInPath, delivery_id: IdInPath) -> Response:
    wanted = pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id=delivery_id)
    found = await upstreams(request).webhook_endpoints.Redeliver(wanted)
    return json_response(_delivery(found.delivery), 202)


def _endpoint(message: pb.Endpoint) -> Json:
    return {
        "id": message.id,
        "owner_id": message.owner_id,
        "url": message.url,
        "event_types": list(message.event_types),
        "description": message.description,
        "enabled": message.enabled,
        "disabled_reason": message.disabled_reason or None,
        "created_at": _time(message.created_at),
    }


def _delivery(message: pb.Delivery) -> Json:
    return {
        "id": message.id,
        "endpoint_id": message.endpoint_id,
        "event_id": message.event_id,
        "event_type": message.event_type,
        "order_id": message.subject,
        "status": message.status,
        "created_at": _time(message.created_at),
        "next_attempt_at": _time(message.next_attempt_at) if message.HasField("next_attempt_at") else None,
        "attempts": [_attempt(attempt) for attempt in message.attempts],
    }


def _attempt(message: pb.Attempt) -> Json:
    return {
        "number": message.number,
        "at": _time(message.at),
        "duration_ms": message.duration_ms,
        "status_code": message.status_code or None,
        "error": message.error or None,
        "response": message.response,
    }


def _time(moment: Timestamp) -> datetime:
    return moment.ToDatetime(UTC)
