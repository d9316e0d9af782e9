"""Metrics of the queues that a process consumes: how many events wait, how long, and its consumers."""

from __future__ import annotations

from collections.abc import Callable

from chassis.background import forever
from chassis.broker.consumer import HeldBacklog
from chassis.broker.port import Broker, age
from chassis.observability.metrics import Metrics

_MEASURE_SECONDS = 2.0


class QueueGauges:
    """`queue_messages` by queue and state, and `queue_consumers` by queue.

    The states ready, delayed and dead are the broker's counts, the same in every copy; held is what waits here for a
    retry uncounted by the broker (RabbitMQ). That and the consumers are to be summed over the copies.

    `queue_oldest_seconds` is the age of the oldest event: of all where the broker has this figure (the embedded one),
    else of those that are held here or wait here for a retry, which are a queue's first ones while it is consumed.
    """

    def __init__(self, metrics: Metrics, broker: Broker) -> None:
        self._broker = broker
        self._queues: dict[str, Callable[[], HeldBacklog]] = {}
        self._messages = metrics.gauge("queue_messages", "Events in a queue, by state", "queue", "state")
        self._oldest = metrics.gauge("queue_oldest_seconds", "Age of the oldest event in a queue", "queue")
        self._consumers = metrics.gauge("queue_consumers", "Consumers of a queue in this process", "queue")

    def consumes(self, queue: str, held: Callable[[], HeldBacklog]) -> None:
        """Note that this process consumes the queue, and holds what `held` returns."""
        self._queues[queue] = held
        self._consumers.labels(queue).set(1)

    async def follow(self) -> None:
        """Look every two seconds while the process lives."""
        await forever(self._look, name="queue metrics", every=_MEASURE_SECONDS)

    async def _look(self) -> None:
        if not self._queues:
            return
        for depth in await self._broker.depths():
            if depth.queue in self._queues:
                held = self._queues[depth.queue]()
                counts = {"ready": depth.ready, "delayed": depth.delayed, "dead": depth.dead, "held": held.delayed}
                for state, number in counts.items():
                    self._messages.labels(depth.queue, state).set(number)
                known = [at for at in (depth.oldest, held.oldest) if at is not None]
                self._oldest.labels(depth.queue).set(age(min(known)) if known else 0.0)
