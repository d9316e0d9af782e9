"""The shop's RabbitMQ topology: one exchange, one stream, and three queues for each work queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractQueue
from aio_pika.exceptions import ChannelPreconditionFailed
from pamqp.common import FieldTable

from chassis.broker.port import BrokerUnavailable, Topology
from chassis.broker.retention import Retention

# From RabbitMQ 4.0 on, a quorum queue drops what was delivered 20 times, and what counts as a delivery differs from
# version to version. We count attempts ourselves and drop nothing; a limit out of reach means the same for all of them.
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
        """Name of the queue for deliveries. Raises `ValueError` for a queue that the topology does not have."""
        if queue not in self.topology.queues:
            raise ValueError(f"unknown work queue {queue!r}")
        return self.prefix + queue

    def retry(self, queue: str) -> str:
        """Name of the queue for deliveries that wait for their next attempt."""
        return self.queue(queue) + ".retry"

    def dead(self, queue: str) -> str:
        """Name of the queue for dead letters."""
        return self.queue(queue) + ".dead"


async def declare(channel: AbstractChannel, names: Names, retention: Retention | None) -> None:
    """Create what is missing, without a stream where there is no `retention`.

    Raises `BrokerUnavailable` for a queue that exists with other arguments.
    """
    exchange = await channel.declare_exchange(names.exchange, ExchangeType.TOPIC, durable=True)
    if retention is not None:
        stream: FieldTable = {
            "x-queue-type": "stream",
            "x-max-age": f"{retention.age // timedelta(seconds=1)}s",
            "x-max-length-bytes": retention.size,
            "x-stream-max-segment-size-bytes": retention.segment,
        }
        log = await _declare_queue(channel, names.log, stream)
        await log.bind(exchange, "#")
    for name, patterns in names.topology.queues.items():
        queue = await _declare_queue(channel, names.queue(name), _QUORUM)
        for pattern in patterns:
            await queue.bind(exchange, pattern)
        await _declare_queue(channel, names.retry(name), _QUORUM)
        await _declare_queue(channel, names.dead(name), _QUORUM)


async def _declare_queue(channel: AbstractChannel, name: str, arguments: FieldTable) -> AbstractQueue:
    try:
        return await channel.declare_queue(name, durable=True, arguments=arguments)
    except ChannelPreconditionFailed as error:
        # RabbitMQ cannot change a queue's arguments, and names the one that differs.
        raise BrokerUnavailable(
            f"queue {name} exists with other arguments, perhaps of an older version ({error}): "
            f"let it run empty or move its messages, then `rabbitmqctl delete_queue {name}`; it is declared anew"
        ) from error


async def confirm(channel: AbstractChannel, names: Names, *, logged: bool) -> None:
    """Check that everything is there, where the broker's operator has declared it and the shop may not.

    What is missing is an error of the channel. Bindings are not checked: that, too, would take the permission.
    """
    await channel.declare_exchange(names.exchange, ExchangeType.TOPIC, passive=True)
    queues = [each(name) for name in names.topology.queues for each in (names.queue, names.retry, names.dead)]
    for queue in ([names.log] if logged else []) + queues:
        await channel.declare_queue(queue, passive=True)
