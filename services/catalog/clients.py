"""Inventory, over gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from chassis.rpc import Client
from protos.shop.inventory.v1.inventory_pb2 import CheckAvailabilityRequest

if TYPE_CHECKING:
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub


class GrpcInventory:
    def __init__(self, stub: InventoryServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def available(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        # Half a second: a quote can do without it, so a slow inventory must not cost the order its deadline.
        request = CheckAvailabilityRequest(product_ids=product_ids)
        response = await self._client.call(self._stub.CheckAvailability, request, timeout=0.5)
        return {item.product_id: item.available for item in response.items}
