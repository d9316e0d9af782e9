"""`shop queues`: how much waits in each work queue, and for how long."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Mapping
from shutil import get_terminal_size

import httpx

from chassis.broker.port import QueueDepth
from chassis.settings import ProcessSettings
from shop.audit.queue_metrics import unsettled
from shop.commands.messages.dead_letters import opened
from shop.errors import Refused

_HEADINGS = ("queue", "ready", "delayed", "held", "dead", "consumers", "oldest")
_NOTE = (
    '"-": nothing waits, or this broker has no such figure. The embedded broker counts as ready what consumers hold, '
    "and counts no consumers. RabbitMQ has no age, and what consumers hold (in work or until a retry) only where "
    "SHOP_BROKER_METRICS_URL is set."
)
_TIMEOUT = 15.0


def queues(env: Mapping[str, str], *, as_json: bool) -> str:
    """The report: a line for each queue. Raises `Refused` where the broker or its metrics cannot be reached."""
    depths = asyncio.run(_depths())
    held = asyncio.run(_held(env.get("SHOP_BROKER_METRICS_URL", ""), depths))
    if as_json:
        return json.dumps({"items": [_as_json(depth, held.get(depth.queue)) for depth in depths]}, indent=2)
    rows = [_HEADINGS, *(_row(depth, held.get(depth.queue)) for depth in depths)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    note = textwrap.fill(_NOTE, min(get_terminal_size().columns, 120))
    return "\n".join([*lines, "", note])


async def _depths() -> list[QueueDepth]:
    async with opened() as broker:
        return await broker.depths()


async def _held(metrics_url: str, depths: list[QueueDepth]) -> Mapping[str, int]:
    """Unacknowledged messages of each queue, by RabbitMQ's metrics, which are some seconds late."""
    broker_url = ProcessSettings().broker()
    if not metrics_url or broker_url.startswith("embedded:"):
        return {}
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as http:
            counted = await unsettled(http, metrics_url, broker_url, [depth.queue for depth in depths])
    except (httpx.HTTPError, OSError, ValueError) as error:  # what answers may be no RabbitMQ
        raise Refused(f"the broker's metrics at {metrics_url} cannot be read: {error}") from error
    waiting = {depth.queue: depth.ready + depth.delayed for depth in depths}
    return {queue: max(0, count - waiting[queue]) for queue, count in counted.items()}


def _row(depth: QueueDepth, held: int | None) -> tuple[str, ...]:
    age = "-" if (seconds := depth.age()) is None else f"{seconds:.1f} s"
    consumers = "-" if depth.consumers is None else str(depth.consumers)
    kept = "-" if held is None else str(held)
    return depth.queue, str(depth.ready), str(depth.delayed), kept, str(depth.dead), consumers, age


def _as_json(depth: QueueDepth, held: int | None) -> dict[str, object]:
    return {
        "queue": depth.queue,
        "ready": depth.ready,
        "delayed": depth.delayed,
        "held": held,
        "dead": depth.dead,
        "consumers": depth.consumers,
        "oldest": depth.oldest.isoformat() if depth.oldest else None,
    }
