"""Lag of reports behind the event log, by partition, for `shop status`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from shop.urls import url_of

_TIMEOUT = 10.0


def progress(env: Mapping[str, str]) -> list[dict[str, int]] | None:
    """The entries of each partition that were read, and those that were not; None where reports does not answer."""
    # Imported here: what only shows whether processes are there needs none of it.
    from chassis.errors import ShopError

    try:
        return asyncio.run(_progress(url_of("reports", env).rpartition("//")[2]))
    except (ShopError, OSError):
        return None


async def _progress(address: str) -> list[dict[str, int]]:
    from chassis.auth.identity import no_token
    from chassis.grpc.client import Client, connect
    from chassis.observability.tracing import Telemetry
    from chassis.settings import ProcessSettings
    from protos.shop.reports.v1.reports_pb2 import GetProgressRequest
    from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub
    from shop.commands.processes.certs import COMMAND_LINE

    client = Client("reports", Telemetry("shop"), token=no_token, timeout=_TIMEOUT)
    async with connect(address, tls=ProcessSettings().tls(COMMAND_LINE)) as channel:
        stub: Any = ReportServiceStub(channel)
        answer = await client.call(stub.GetProgress, GetProgressRequest())
    return [{"partition": each.partition, "read": each.read, "unread": each.unread} for each in answer.partitions]


def words(partitions: Sequence[Mapping[str, int]]) -> str:
    """A sentence such as `reports has not read 12 entries (partition 0: 5, 3: 7)`; empty where it has read all."""
    behind = [each for each in partitions if each["unread"]]
    if not behind:
        return ""
    where = ", ".join(f"{each['partition']}: {each['unread']}" for each in behind)
    return f"reports has not read {sum(each['unread'] for each in behind)} entries (partition {where})"
