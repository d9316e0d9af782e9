"""reports as the edge sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from chassis.grpc.client import Client
from protos.shop.reports.v1 import reports_pb2 as pb
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub

if TYPE_CHECKING:
    from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceAsyncStub

# What gRPC itself may repeat.
IDEMPOTENT = ["shop.reports.v1.ReportService/GetSales"]


class ReportsClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client) -> None:
        self._stub: ReportServiceAsyncStub = ReportServiceStub(channel)
        self._client = client

    async def sales(self, request: pb.GetSalesRequest) -> pb.GetSalesResponse:
        return await self._client.call(self._stub.GetSales, request)
