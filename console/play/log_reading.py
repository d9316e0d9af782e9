"""Lag of reports behind the event log, for the page's map."""

from __future__ import annotations

import logging
import time

import grpc.aio

from chassis.auth.identity import no_token
from chassis.errors import ShopError
from chassis.grpc.client import Client, calls
from chassis.observability.tracing import Telemetry
from protos.shop.reports.v1.reports_pb2 import GetProgressRequest
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub

log = logging.getLogger(__name__)

_TIMEOUT = 2.0
_EVERY = 4.0


class LogReading:
    """Calls reports at most every few seconds, in no trace: the page's own calls would be most of what it shows."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        client = Client("reports", Telemetry("console", sample_ratio=0), token=no_token, timeout=_TIMEOUT)
        self._reports = calls(ReportServiceStub(channel), client)
        self._unread: int | None = None
        self._next_read_at = 0.0

    async def unread(self) -> int | None:
        """Entries that are not in the sales report yet; None where reports does not answer."""
        if time.monotonic() >= self._next_read_at:
            self._next_read_at = time.monotonic() + _EVERY
            try:
                answer = await self._reports.GetProgress(GetProgressRequest())
                self._unread = sum(each.unread for each in answer.partitions)
            except ShopError as error:
                log.warning("console: log lag unknown, reports unavailable", extra={"reason": str(error)})
                self._unread = None
        return self._unread
