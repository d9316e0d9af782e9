"""webhooks' endpoints as the edge sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc.aio

from chassis.grpc.client import Client
from chassis.observability.tracing import Telemetry
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookEndpointServiceStub

if TYPE_CHECKING:
    from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookEndpointServiceAsyncStub

# What gRPC itself may repeat.
IDEMPOTENT = [
    f"shop.webhooks.v1.WebhookEndpointService/{method}" for method in ("ListEndpoints", "GetEndpoint", "ListDeliveries")
]


class WebhookEndpointsClient:
    def __init__(self, channel: grpc.aio.Channel, telemetry: Telemetry) -> None:
        self._stub: WebhookEndpointServiceAsyncStub = WebhookEndpointServiceStub(channel)
        self._client = Client("webhook_worker", telemetry)

    async def create(self, url: str, event_types: Sequence[str], description: str) -> pb.CreateEndpointResponse:
        request = pb.CreateEndpointRequest(url=url, event_types=event_types, description=description)
        return await self._client.call(self._stub.CreateEndpoint, request)

    async def page(self, *, limit: int, cursor: str) -> pb.ListEndpointsResponse:
        request = pb.ListEndpointsRequest(page_size=limit, cursor=cursor)
        return await self._client.call(self._stub.ListEndpoints, request)

    async def endpoint(self, endpoint_id: str) -> pb.Endpoint:
        return (await self._client.call(self._stub.GetEndpoint, pb.GetEndpointRequest(id=endpoint_id))).endpoint

    async def update(self, request: pb.UpdateEndpointRequest) -> pb.Endpoint:
        return (await self._client.call(self._stub.UpdateEndpoint, request)).endpoint

    async def rotate_secret(self, endpoint_id: str) -> pb.RotateSecretResponse:
        return await self._client.call(self._stub.RotateSecret, pb.RotateSecretRequest(id=endpoint_id))

    async def delete(self, endpoint_id: str) -> None:
        await self._client.call(self._stub.DeleteEndpoint, pb.DeleteEndpointRequest(id=endpoint_id))

    async def deliveries(self, endpoint_id: str, *, limit: int, cursor: str) -> pb.ListDeliveriesResponse:
        request = pb.ListDeliveriesRequest(endpoint_id=endpoint_id, page_size=limit, cursor=cursor)
        return await self._client.call(self._stub.ListDeliveries, request)

    async def redeliver(self, endpoint_id: str, delivery_id: str) -> pb.Delivery:
        request = pb.RedeliverRequest(endpoint_id=endpoint_id, delivery_id=delivery_id)
        return (await self._client.call(self._stub.Redeliver, request)).delivery
