"""The broker: one port, two adapters, and the consumer loop that runs on either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chassis.broker.retention import Retention

if TYPE_CHECKING:
    from chassis.broker.port import Broker, Topology


async def connect(url: str, topology: Topology, *, retention: Retention | None = None) -> Broker:
    """Connect to the broker that `url` names, with every queue of the topology declared.

    `embedded:/path/to/broker.sqlite`, or `amqp://user:password@host:5672/vhost` (`amqps:` with TLS), where the query
    parameter `prefix` goes before the name of every exchange, queue and stream. With `topology=declared` nothing is
    declared: whoever runs the broker has done so, and has given us no permission to.
    A RabbitMQ that is away is connected to once it is back. Raises `ValueError` for another scheme.
    """
    scheme, _, path = url.partition(":")
    # Imported here because aio_pika costs a process 0.18 s and 6 MB, for which the embedded default has no use.
    if scheme == "embedded":
        from chassis.broker.embedded.adapter import EmbeddedBroker

        return await EmbeddedBroker.open(path, topology, retention or Retention())
    if scheme in {"amqp", "amqps"}:
        from chassis.broker.rabbitmq.adapter import RabbitBroker

        return await RabbitBroker.open(url, topology, retention or Retention())
    raise ValueError(f"no broker speaks {scheme!r}: use embedded: or amqp:")
