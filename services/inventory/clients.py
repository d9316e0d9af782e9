"""The ERP, over gRPC to its adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from chassis.grpc.client import Client
from chassis.grpc.timestamps import timestamp
from protos.shop.erp.v1.erp_pb2 import GetStockLevelsRequest, PostGoodsReceiptRequest
from services.inventory.domain import Adjustment

if TYPE_CHECKING:
    from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceAsyncStub

# Seconds. Under the gateway's budget of 2 s, so that there is time left to answer with the last known figure.
_SHORT_TIMEOUT = 1.0
# As long as the ERP's adapter waits for the ERP.
_LONG_TIMEOUT = 5.0


class GrpcErp:
    def __init__(self, stub: ErpServiceAsyncStub, client: Client) -> None:
        self._stub = stub
        self._client = client

    async def stock_levels(self, product_ids: Sequence[str], *, long_timeout: bool = False) -> Mapping[str, int]:
        request = GetStockLevelsRequest(product_ids=product_ids)
        response = await self._client.call(
            self._stub.GetStockLevels, request, timeout=_LONG_TIMEOUT if long_timeout else _SHORT_TIMEOUT
        )
        return {level.product_id: level.on_hand for level in response.levels}

    async def book(self, adjustment: Adjustment) -> None:
        request = PostGoodsReceiptRequest(
            receipt_id=adjustment.id,
            product_id=adjustment.product_id,
            quantity=adjustment.quantity,
            received_at=timestamp(adjustment.counted_at),
        )
        # No client waits for it, so it may take longer than a client would wait.
        await self._client.call(self._stub.PostGoodsReceipt, request, timeout=_LONG_TIMEOUT)
