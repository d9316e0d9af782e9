"""Inventory, over gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from chassis.auth.identity import no_token
from chassis.grpc.client import Client
from chassis.observability.tracing import Telemetry
from chassis.resilience.request_coalescing import CoalescedReads
from protos.shop.inventory.v1.inventory_pb2 import CheckAvailabilityRequest

if TYPE_CHECKING:
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub


# Seconds: a quote can do without it, so a slow inventory must not cost the order its deadline.
_TIMEOUT = 0.5
# Seconds for which a figure serves further quotes. It is what inventory could deliver a moment ago in any case: what an
# order gets is decided when it is reserved, and what is shown in the shop is not taken from a quote.
_KEEP = 1.0


class GrpcInventory:
    """Calls without a token: availability is public, and simultaneous orders share a call."""

    def __init__(self, stub: InventoryServiceAsyncStub, telemetry: Telemetry) -> None:
        self._stub = stub
        self._client = Client("inventory", telemetry, token=no_token, timeout=_TIMEOUT)
        self._reads = CoalescedReads("inventory", self._read, timeout=_TIMEOUT, keep=_KEEP)

    async def available(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        return await self._reads.get(product_ids)

    async def _read(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        request = CheckAvailabilityRequest(product_ids=product_ids)
        response = await self._client.call(self._stub.CheckAvailability, request)
        return {item.product_id: item.available for item in response.items}
