"""A warehouse scanner: keeps what was counted until it is answered, and sends it again on another stream."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import grpc
import grpc.aio

from protos.shop.inventory.v1 import inventory_pb2 as pb
from tests.internal.inventories import Inventory, signed


class Scanner:
    """`unanswered` is what the scanner still has to deliver; `answers` are by adjustment."""

    def __init__(self) -> None:
        self.unanswered: OrderedDict[str, pb.StockAdjustment] = OrderedDict()
        self.answers: dict[str, pb.StockLevel] = {}
        self.streams = 0

    def count(self, adjustment_id: str, quantity: int, product_id: str = "42") -> None:
        self.unanswered[adjustment_id] = pb.StockAdjustment(id=adjustment_id, product_id=product_id, quantity=quantity)

    async def deliver(self, inventory: Inventory, *, break_after: int | None = None) -> None:
        """One stream: send all that is unanswered; end when all is, or break off after so many answers.

        A stream that breaks raises nothing: what was not answered is still there for the next one.
        """
        self.streams += 1
        sent: Sequence[pb.StockAdjustment] = list(self.unanswered.values())
        call = inventory.stub.SyncStock(iter(sent), metadata=signed())
        seen = 0
        try:
            async for level in call:
                self.answers[level.adjustment_id] = level
                self.unanswered.pop(level.adjustment_id, None)
                seen += 1
                if seen == break_after:
                    call.cancel()
                    return
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
