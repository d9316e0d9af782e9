"""The broker: work queues and the event log, each a port with its adapters, and the consumer loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chassis.broker.retention import Retention

if TYPE_CHECKING:
    from chassis.broker.port import Broker, Topology
    from chassis.observability.tracing import Telemetry


async def connect(
    url: str,
    topology: Topology,
    *,
    retention: Retention | None = None,
    log_url: str = "",
    telemetry: Telemetry | None = None,
) -> Broker:
    """Connect to the broker that `url` names, with every queue of the topology declared.

    `embedded:/path/to/broker.sqlite`, or `amqp://user:password@host:5672/vhost` (`amqps:` with TLS), where the query
    parameter `prefix` goes before the name of every exchange, queue and stream. With `topology=declared` nothing is
    declared: the broker's operator has declared it, and the shop has no permission to.
    `log_url`: where the event log is, if it is not the broker's own: `kafka://host:9092/topic`. With `telemetry`, what
    is published has spans; so has appending to such a log, which to the broker's own is part of publishing.
    A RabbitMQ or a Kafka that is away is connected to once it is back. Raises `ValueError` for another scheme.
    """
    retention = retention or Retention()
    broker: Broker
    if log_url:
        # Imported here, as below: a process without Kafka does not load aiokafka.
        from chassis.broker.kafka.adapter import KafkaLog
        from chassis.broker.separate_log import BrokerWithLog

        log = KafkaLog(log_url, retention, telemetry)
        broker = BrokerWithLog(await _connect(url, topology, retention, logged=False), log)
    else:
        broker = await _connect(url, topology, retention, logged=True)
    if telemetry is None:
        return broker
    from chassis.broker.forwarding import TracedBroker

    return TracedBroker(broker, telemetry)


async def _connect(url: str, topology: Topology, retention: Retention, *, logged: bool) -> Broker:
    scheme, _, path = url.partition(":")
    # Imported here because aio_pika costs a process 0.18 s and 6 MB, for which the embedded default has no use.
    if scheme == "embedded":
        from chassis.broker.embedded.adapter import EmbeddedBroker

        return await EmbeddedBroker.open(path, topology, retention, logged=logged)
    if scheme in {"amqp", "amqps"}:
        from chassis.broker.rabbitmq.adapter import RabbitBroker

        return await RabbitBroker.open(url, topology, retention, logged=logged)
    raise ValueError(f"unsupported broker URL scheme {scheme!r}: use embedded: or amqp:")
