"""What the shop needs to exist in RabbitMQ: one exchange, one stream, and three queues for each work queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from pamqp.common import FieldTable

from chassis.broker.port import Topology
from chassis.broker.retention import Retention

# From RabbitMQ 4.0 on, a quorum queue drops what was delivered 20 times, and what counts as a delivery differs from
# version to version. We count attempts ourselves and drop nothing; a limit out of reach says so to all of them.
_QUORUM: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Names:
    """The names of everything, behind a prefix that keeps deployments (and tests) on one server apart."""

    prefix: str
    topology: Topology

    @property
    def exchange(self) -> str:
        return self.prefix + self.topology.exchange

    @property
    def log(self) -> str:
        return self.prefix + self.topology.log

    def queue(self, queue: str) -> str:
        """Where deliveries wait. Raises `ValueError` for a queue that the topology does not have."""
        if queue not in self.topology.queues:
            raise ValueError(f"no work queue is called {queue!r}")
        return self.prefix + queue

    def retry(self, queue: str) -> str:
        """Where deliveries wait for their next attempt."""
        return self.queue(queue) + ".retry"

    def dead(self, queue: str) -> str:
        """Where dead letters wait for a person."""
        return self.queue(queue) + ".dead"


async def declare(channel: AbstractChannel, names: Names, retention: Retention) -> None:
    """Create what is missing; what exists with other arguments is an error of the channel."""
    exchange = await channel.declare_exchange(names.exchange, ExchangeType.TOPIC, durable=True)
    log = await channel.declare_queue(
        names.log,
        durable=True,
        arguments={
            "x-queue-type": "stream",
            "x-max-age": f"{retention.age // timedelta(seconds=1)}s",
            "x-max-length-bytes": retention.size,
            "x-stream-max-segment-size-bytes": retention.segment,
        },
    )
    await log.bind(exchange, "#")
    for name, patterns in names.topology.queues.items():
        queue = await channel.declare_queue(names.queue(name), durable=True, arguments=_QUORUM)
        for pattern in patterns:
            await queue.bind(exchange, pattern)
        await channel.declare_queue(names.retry(name), durable=True, arguments=_QUORUM)
        await channel.declare_queue(names.dead(name), durable=True, arguments=_QUORUM)


async def confirm(channel: AbstractChannel, names: Names) -> None:
    """See that everything is there, where whoever runs the broker has declared it and we may not.

    What is missing is an error of the channel. How queues are bound is not asked: that, too, would take the permission.
    """
    await channel.declare_exchange(names.exchange, ExchangeType.TOPIC, passive=True)
    queues = [each(name) for name in names.topology.queues for each in (names.queue, names.retry, names.dead)]
    for queue in (names.log, *queues):
        await channel.declare_queue(queue, passive=True)
