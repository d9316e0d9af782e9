"""`shop queues`: how much waits in each work queue, and for how long."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from chassis.broker.port import QueueDepth
from shop.commands.messages.dead_letters import opened

_HEADINGS = ("queue", "ready", "delayed", "dead", "consumers", "oldest")
_NOTE = '"-": this broker does not tell. RabbitMQ tells no age, the embedded broker no consumers.'


def queues(*, as_json: bool) -> str:
    """The report: a line for each queue. Raises `Refused` where the broker cannot be reached."""
    depths = asyncio.run(_depths())
    now = datetime.now(UTC)
    if as_json:
        return json.dumps({"items": [_as_json(depth) for depth in depths]}, indent=2)
    rows = [_HEADINGS, *(_row(depth, now) for depth in depths)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*lines, "", _NOTE])


async def _depths() -> list[QueueDepth]:
    async with opened() as broker:
        return await broker.depths()


def _row(depth: QueueDepth, now: datetime) -> tuple[str, ...]:
    age = "-" if depth.oldest is None else f"{max(0.0, (now - depth.oldest).total_seconds()):.1f} s"
    consumers = "-" if depth.consumers is None else str(depth.consumers)
    return depth.queue, str(depth.ready), str(depth.delayed), str(depth.dead), consumers, age


def _as_json(depth: QueueDepth) -> dict[str, object]:
    return {
        "queue": depth.queue,
        "ready": depth.ready,
        "delayed": depth.delayed,
        "dead": depth.dead,
        "consumers": depth.consumers,
        "oldest": depth.oldest.isoformat() if depth.oldest else None,
    }
