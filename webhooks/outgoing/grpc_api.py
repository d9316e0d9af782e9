"""shop.webhooks.v1.WebhookEndpointService over gRPC: parse, call one use case, render."""

from __future__ import annotations

from typing import Any

from chassis.auth.identity import Principal, current_principal
from chassis.grpc.timestamps import timestamp
from chassis.pagination import decode_place, encode_place, page_size
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookEndpointServiceServicer
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint
from webhooks.outgoing.use_cases import Endpoints

_MAX_PAGE = 100


def _user(principal: Principal) -> bool:
    """Rule: a person. Processes own no endpoints."""
    return principal.signed_in and not principal.is_service()


POLICY = {
    "CreateEndpoint": _user,
    "ListEndpoints": _user,
    "GetEndpoint": _user,
    "UpdateEndpoint": _user,
    "RotateSecret": _user,
    "DeleteEndpoint": _user,
    "ListDeliveries": _user,
    "Redeliver": _user,
}


class WebhookEndpointApi(WebhookEndpointServiceServicer):
    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def CreateEndpoint(self, request: pb.CreateEndpointRequest, context: Any) -> pb.CreateEndpointResponse:
        caller = current_principal()
        endpoint = await self._endpoints.create(request.url, request.event_types, request.description, caller)
        return pb.CreateEndpointResponse(endpoint=_endpoint(endpoint), secret=endpoint.secret)

    async def ListEndpoints(self, request: pb.ListEndpointsRequest, context: Any) -> pb.ListEndpointsResponse:
        size = page_size(request.page_size, limit=_MAX_PAGE)
        found, further = await self._endpoints.page(current_principal(), after=decode_place(request.cursor), size=size)
        return pb.ListEndpointsResponse(endpoints=map(_endpoint, found), next_cursor=encode_place(further))

    async def GetEndpoint(self, request: pb.GetEndpointRequest, context: Any) -> pb.GetEndpointResponse:
        return pb.GetEndpointResponse(endpoint=_endpoint(await self._endpoints.get(request.id, current_principal())))

    async def UpdateEndpoint(self, request: pb.UpdateEndpointRequest, context: Any) -> pb.UpdateEndpointResponse:
        endpoint = await self._endpoints.update(
            request.id,
            current_principal(),
            url=request.url if request.HasField("url") else None,
            event_types=request.event_types,
            description=request.description if request.HasField("description") else None,
            enabled=request.enabled if request.HasField("enabled") else None,
        )
        return pb.UpdateEndpointResponse(endpoint=_endpoint(endpoint))

    async def RotateSecret(self, request: pb.RotateSecretRequest, context: Any) -> pb.RotateSecretResponse:
        endpoint = await self._endpoints.rotate_secret(request.id, current_principal())
        return pb.RotateSecretResponse(
            endpoint=_endpoint(endpoint),
            secret=endpoint.secret,
            old_secret_until=timestamp(endpoint.old_secrets[0].until),
        )

    async def DeleteEndpoint(self, request: pb.DeleteEndpointRequest, context: Any) -> pb.DeleteEndpointResponse:
        await self._endpoints.delete(request.id, current_principal())
        return pb.DeleteEndpointResponse()

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: Any) -> pb.ListDeliveriesResponse:
        found, further = await self._endpoints.deliveries(
            request.endpoint_id,
            current_principal(),
            after=decode_place(request.cursor),
            size=page_size(request.page_size, limit=_MAX_PAGE),
        )
        return pb.ListDeliveriesResponse(deliveries=map(_delivery, found), next_cursor=encode_place(further))

    async def Redeliver(self, request: pb.RedeliverRequest, context: Any) -> pb.RedeliverResponse:
        caller = current_principal()
        return pb.RedeliverResponse(
            delivery=_delivery(await self._endpoints.redeliver(request.endpoint_id, request.delivery_id, caller))
        )


def _endpoint(endpoint: Endpoint) -> pb.Endpoint:
    return pb.Endpoint(
        id=endpoint.id,
        owner_id=endpoint.owner_id,
        url=endpoint.url,
        event_types=endpoint.event_types,
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        created_at=timestamp(endpoint.created_at),
    )


def _delivery(delivery: Delivery) -> pb.Delivery:
    return pb.Delivery(
        id=delivery.id,
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        subject=delivery.subject,
        status=delivery.status,
        created_at=timestamp(delivery.created_at),
        next_attempt_at=timestamp(delivery.next_attempt_at) if delivery.next_attempt_at else None,
        attempts=[_attempt(attempt) for attempt in delivery.made],
    )


def _attempt(attempt: Attempt) -> pb.Attempt:
    return pb.Attempt(
        number=attempt.number,
        at=timestamp(attempt.at),
        duration_ms=attempt.duration_ms,
        status_code=attempt.status_code,
        error=attempt.error,
        response=attempt.response,
    )
