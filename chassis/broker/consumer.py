"""The consumer loop: runs a handler for each delivery of a work queue and settles it.

Subjects run beside one another, the events of one subject one after the other. What succeeds is acknowledged. What
fails because another system is away, or because it comes too early, is retried without end, with a delay that grows up
to the last of the retry delays; what fails otherwise is dead-lettered with its reason after the last of them. Nothing
is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from chassis.broker.port import Broker, BrokerUnavailable, Deliveries, Delivery, Event
from chassis.errors import Kind, ShopError
from chassis.observability.capture import capture
from chassis.observability.capture.places import handler_place
from chassis.observability.tracing import NOTE, SpanKind, Telemetry

logger = logging.getLogger(__name__)

Handler = Callable[[Event], Awaitable[None]]

RETRY_DELAYS = (0.5, 2.0, 8.0, 30.0, 120.0)
JITTER = 0.1
REASON_LENGTH = 500


def of_subject(step: Callable[[str], Awaitable[None]]) -> Handler:
    """A handler that takes only the subject of an event: the id of what it happened to, whose row has the rest."""

    async def handle(event: Event) -> None:
        await step(event.subject)

    return handle


class PermanentFailure(Exception):
    """The event can never be handled, however often it is tried: a payload that cannot be parsed, for instance."""


class NotYet(Exception):
    """The event is early: it can be handled once something else has happened, however long that takes."""


# Handlers call with this process's own token. A refusal is about the token (a wrong clock, a secret being replaced),
# not about the event.
_TEMPORARY_KINDS = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED, Kind.UNAUTHENTICATED})
# The same secret, of this process or of one that it calls; for who called that one it is an internal error.
_TEMPORARY_CODES = frozenset({"SERVICE_NOT_RECOGNISED"})


def is_temporary(error: Exception) -> bool:
    """Whether an error passes by itself: another system is away, overloaded or too slow, or the event is early."""
    if isinstance(error, ShopError):
        return error.kind in _TEMPORARY_KINDS or error.code in _TEMPORARY_CODES
    return isinstance(error, (NotYet, BrokerUnavailable, ConnectionError, TimeoutError))


@dataclass(frozen=True, slots=True)
class HeldBacklog:
    """Backlog that a consumer holds: when its oldest event happened, and how many wait for a retry.

    The latter are those of `Deliveries.delayed`, beside the deliveries that `concurrency` bounds.
    """

    oldest: datetime | None
    delayed: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The event was handled."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay` seconds."""

    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Leave it to a person."""

    reason: str


def decide(
    error: Exception | None, attempt: int, retry_delays: Sequence[float], *, stretch: float = 1.0
) -> Ack | Retry | DeadLetter:
    """The settlement of a delivery after its `attempt`-th attempt, which ended with `error` or without one.

    There is one retry for each delay, and after the last one as many more as a temporary error takes; `stretch`
    multiplies the delay, so that what failed together is not retried together.
    """
    if error is None:
        return Ack()
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")[:REASON_LENGTH]
    exhausted = attempt > len(retry_delays) and not (retry_delays and is_temporary(error))
    if isinstance(error, PermanentFailure) or exhausted:
        return DeadLetter(reason)
    return Retry(retry_delays[min(attempt, len(retry_delays)) - 1] * stretch, reason)


@asynccontextmanager
async def consuming(
    broker: Broker,
    queue: str,
    handler: Handler,
    *,
    telemetry: Telemetry,
    retry_delays: Sequence[float] = RETRY_DELAYS,
    concurrency: int = 16,
    handler_timeout: float = 60.0,
    drain_timeout: float = 10.0,
) -> AsyncIterator[Callable[[], HeldBacklog]]:
    """Handle a queue's deliveries in the background until the context is left. Times are in seconds.

    Yields a function that returns the backlog that is held now.

    At most `concurrency` deliveries are taken at a time. Leaving the context stops receiving, gives running handlers
    `drain_timeout` to finish, and lets the broker deliver the rest to another consumer.
    """
    async with broker.deliveries(queue, prefetch=concurrency) as deliveries:
        consumer = _Consumer(queue, deliveries, handler, broker.system, telemetry, retry_delays, handler_timeout)
        receiving = asyncio.create_task(consumer.receive(), name=f"receive {queue}")
        receiving.add_done_callback(_report)
        try:
            yield consumer.held
        finally:
            receiving.cancel()
            await consumer.drain(drain_timeout)


@dataclass(eq=False)
class _Consumer:
    _queue: str
    _deliveries: Deliveries
    _handler: Handler
    _system: str
    _telemetry: Telemetry
    _retry_delays: Sequence[float]
    _handler_timeout: float
    _lanes: dict[str, deque[Delivery]] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _draining: bool = False

    def __post_init__(self) -> None:
        self._captured = self._telemetry.capture is not None
        self._place = handler_place(self._handler) if self._captured else {}

    async def receive(self) -> None:
        """Put each delivery into its subject's lane; a lane has a task while it is not empty."""
        async for delivery in self._deliveries:
            subject = delivery.event.subject
            if subject in self._lanes:
                self._lanes[subject].append(delivery)
                continue
            self._lanes[subject] = deque([delivery])
            task = asyncio.create_task(self._run_lane(subject), name=f"handle {self._queue} {subject}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            task.add_done_callback(_report)

    def held(self) -> HeldBacklog:
        """Backlog that is held now, with what waits for its next attempt."""
        delayed = self._deliveries.delayed()
        running = [delivery.event.time for lane in self._lanes.values() for delivery in lane]
        return HeldBacklog(min([*running, *delayed], default=None), len(delayed))

    async def drain(self, within: float) -> None:
        """Let running handlers finish, start no other, and cancel what takes longer than `within` seconds."""
        self._draining = True
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=within)
        for task in late:
            task.cancel()
        if late:
            logger.warning("%s: %d handlers did not finish within %.1f s", self._queue, len(late), within)
            await asyncio.gather(*late, return_exceptions=True)

    async def _run_lane(self, subject: str) -> None:
        lane = self._lanes[subject]
        try:
            while lane and not self._draining:
                await self._process(lane[0])
                lane.popleft()
        finally:
            del self._lanes[subject]

    async def _process(self, delivery: Delivery) -> None:
        decision = await self._handle(delivery)
        try:
            match decision:
                case Ack():
                    await delivery.ack()
                case Retry(delay, reason):
                    await delivery.retry(delay, reason)
                case DeadLetter(reason):
                    await delivery.dead_letter(reason)
        except BrokerUnavailable as unavailable:
            logger.warning(
                "%s: event not settled, it will be redelivered: %s",
                self._queue,
                unavailable,
                extra=self._context(delivery),
            )

    def _context(self, delivery: Delivery) -> dict[str, str | int]:
        return {"queue": self._queue, "event": delivery.event.id, "attempt": delivery.attempt}

    def _failed(self, error: Exception, delivery: Delivery) -> Ack | Retry | DeadLetter:
        """The settlement after a failure, which is logged."""
        stretch = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311 # nothing to guess here
        decision = decide(error, delivery.attempt, self._retry_delays, stretch=stretch)
        context = self._context(delivery)
        match decision:
            case Retry(delay, reason):
                logger.warning("%s: event is retried in %.1f s after %s", self._queue, delay, reason, extra=context)
            case DeadLetter(reason):
                logger.error("%s: event dead-lettered after %s", self._queue, reason, extra=context, exc_info=error)
        return decision

    async def _handle(self, delivery: Delivery) -> Ack | Retry | DeadLetter:
        """Run the handler in a span of the trace that the event belongs to, where its failure is logged, too."""
        event = delivery.event
        decision: Ack | Retry | DeadLetter = Ack()
        try:
            with self._telemetry.span(
                f"process {self._queue}",
                SpanKind.CONSUMER,
                protocol="AMQP" if self._system == "rabbitmq" else "queue",
                peer=self._queue,
                parent=event.extensions.get("traceparent"),
                attributes={
                    "messaging.system": self._system,
                    "messaging.destination.name": self._queue,
                    "messaging.operation.type": "process",
                    "messaging.message.id": event.id,
                    "messaging.message.body.size": len(event.data),
                    "cloudevents.event_type": event.type,
                    "cloudevents.event_subject": event.subject,
                    "shop.attempt": delivery.attempt,
                    "shop.bytes.received": len(event.data),
                    **self._place,
                },
            ) as span:
                if self._captured:
                    capture.received(span, delivery.on_wire())
                try:
                    async with asyncio.timeout(self._handler_timeout):
                        await self._handler(event)
                except Exception as error:
                    decision = self._failed(error, delivery)
                    if isinstance(decision, DeadLetter):
                        span.set_attribute(NOTE, "dead_letter")
                    raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # This task was not cancelled: the handler awaited something that was (a call on a channel that closed).
            return self._failed(ConnectionAbortedError("a call that the handler awaited was cancelled"), delivery)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the delivery is settled
            return self._failed(error, delivery) if isinstance(decision, Ack) else decision
        return decision


def _report(task: asyncio.Task[None]) -> None:
    """A task that ends with an error that is not awaited would do so in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("%s ended: %s", task.get_name(), error, exc_info=error)
