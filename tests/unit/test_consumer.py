"""The consumer loop's decisions, and how it runs handlers, on a fake broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.broker.consumer import Ack, DeadLetter, NotYet, PermanentFailure, Retry, consuming, decide
from chassis.broker.port import Broker, BrokerUnavailable, Delivery, Event
from chassis.errors import Kind, ShopError
from chassis.observability.capture.messages import Message, sqlite_row
from chassis.observability.tracing import SpanKind, Telemetry
from tests.waiting import eventually

DELAYS = (0.5, 2.0, 8.0)
_PASSING = {Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED, Kind.UNAUTHENTICATED}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class TestDeciding:
    def test_success_is_acknowledged(self) -> None:
        """A delivery that was handled is done, whichever attempt it was."""
        assert decide(None, 1, DELAYS) == Ack()
        assert decide(None, 9, DELAYS) == Ack()

    @pytest.mark.parametrize(("attempt", "delay"), [(1, 0.5), (2, 2.0), (3, 8.0)])
    def test_a_failure_is_retried_with_growing_delay(self, attempt: int, delay: float) -> None:
        """Each attempt has its delay."""
        assert decide(OSError("down"), attempt, DELAYS) == Retry(delay, "OSError: down")

    def test_the_last_failure_is_a_dead_letter(self) -> None:
        """When the delays are used up, a person decides."""
        assert decide(OSError("down"), 4, DELAYS) == DeadLetter("OSError: down")
        assert decide(OSError("down"), 1, ()) == DeadLetter("OSError: down")

    @pytest.mark.parametrize(
        "error",
        [
            ShopError("AWAY", "away", Kind.UNAVAILABLE),
            ShopError("SLOW", "slow", Kind.TIMEOUT),
            ShopError("BUSY", "busy", Kind.EXHAUSTED),
            ShopError("INVALID_TOKEN", "the token has expired", Kind.UNAUTHENTICATED),
            BrokerUnavailable("away"),
            ConnectionRefusedError("away"),
            TimeoutError(),
            NotYet("the order is not confirmed"),
        ],
        ids=repr,
    )
    def test_what_passes_by_itself_is_retried_without_end(self, error: Exception) -> None:
        """An outage, early news or a refused token never becomes a dead letter; the delay stops at the last one."""
        for attempt, delay in ((1, 0.5), (3, 8.0), (4, 8.0), (1_000, 8.0)):
            decision = decide(error, attempt, DELAYS)
            assert isinstance(decision, Retry)
            assert decision.delay == delay

    def test_a_secret_that_is_being_replaced_passes_by_itself(self) -> None:
        """Events wait until this process, or the one that it calls, has the new one."""
        error = ShopError("SERVICE_NOT_RECOGNISED", "users does not recognise order_worker", Kind.INTERNAL)
        assert isinstance(decide(error, 60, DELAYS), Retry)

    @pytest.mark.parametrize("kind", sorted(set(Kind) - _PASSING, key=str))
    def test_what_is_refused_ends_in_the_dead_letters(self, kind: Kind) -> None:
        """A refusal or a fault of our own is tried a few times, not for ever."""
        assert isinstance(decide(ShopError("NO", "no", kind), 4, DELAYS), DeadLetter)

    def test_a_permanent_failure_is_not_retried(self) -> None:
        """What can never succeed is a dead letter at once."""
        assert decide(PermanentFailure("no JSON"), 1, DELAYS) == DeadLetter("PermanentFailure: no JSON")

    def test_the_delay_is_stretched(self) -> None:
        """Jitter multiplies the delay."""
        assert decide(OSError("down"), 2, DELAYS, stretch=1.1) == Retry(2.2, "OSError: down")

    def test_a_reason_is_bounded_and_never_empty(self) -> None:
        """A reason names the error's type, and a huge message is cut."""
        assert decide(OSError(), 9, DELAYS) == DeadLetter("OSError")
        dead = decide(OSError("x" * 10_000), 9, DELAYS)
        assert isinstance(dead, DeadLetter)
        assert len(dead.reason) == 500


@dataclass
class FakeDelivery:
    event: Event
    attempt: int = 1
    settled: list[object] = field(default_factory=list)
    unavailable: bool = False

    def on_wire(self) -> Message:
        return sqlite_row((None, self.event.id, self.event.data, 0.5))

    async def ack(self) -> None:
        self._settle("ack")

    async def retry(self, delay: float, reason: str) -> None:
        self._settle(("retry", delay, reason))

    async def dead_letter(self, reason: str) -> None:
        self._settle(("dead", reason))

    def _settle(self, how: object) -> None:
        if self.unavailable:
            raise BrokerUnavailable("gone")
        self.settled.append(how)


class FakeBroker:
    """Delivers what a test puts in; of the port it has what the loop uses."""

    system = "rabbitmq"

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[FakeDelivery] = asyncio.Queue()

    @asynccontextmanager
    async def deliveries(self, queue: str, *, prefetch: int = 16) -> AsyncIterator[AsyncIterator[Delivery]]:
        async def iterate() -> AsyncIterator[Delivery]:
            while True:
                yield await self.waiting.get()

        yield iterate()

    def deliver(self, id_: str, subject: str = "", *, attempt: int = 1, unavailable: bool = False) -> FakeDelivery:
        event = Event(
            id_, "order.placed", "/test", subject or id_, datetime.now(UTC), b"{}", {"traceparent": TRACEPARENT}
        )
        delivery = FakeDelivery(event, attempt, unavailable=unavailable)
        self.waiting.put_nowait(delivery)
        return delivery


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def run(broker: FakeBroker, handler: Callable[[Event], object], **options: object):  # type: ignore[no-untyped-def]
    options.setdefault("telemetry", Telemetry("test"))
    return consuming(cast("Broker", broker), "processing", handler, **options)  # type: ignore[arg-type]


async def test_a_handled_event_is_acknowledged_after_its_handler(broker: FakeBroker) -> None:
    """The acknowledgement comes after the effect."""
    finish = asyncio.Event()

    async def handle(_: Event) -> None:
        await finish.wait()

    async with run(broker, handle):
        delivery = broker.deliver("1")
        await eventually(broker.waiting.empty)
        assert delivery.settled == []
        finish.set()
        await eventually(lambda: delivery.settled == ["ack"])


async def test_a_failed_event_is_retried_with_jitter(broker: FakeBroker) -> None:
    """A failure settles as a retry near its delay, with the reason."""

    async def fail(_: Event) -> None:
        raise OSError("down")

    async with run(broker, fail, retry_delays=[10.0]):
        delivery = broker.deliver("1")
        await eventually(lambda: delivery.settled)
    ((how, delay, reason),) = cast("list[tuple[str, float, str]]", delivery.settled)
    assert how == "retry"
    assert 9 <= delay <= 11
    assert reason == "OSError: down"


async def test_a_hopeless_event_is_a_dead_letter(broker: FakeBroker) -> None:
    """The attempt after the last delay, and a permanent failure, end as dead letters."""

    async def fail(event: Event) -> None:
        raise PermanentFailure("no JSON") if event.id == "1" else OSError("down")

    async with run(broker, fail, retry_delays=[10.0]):
        permanent, exhausted = broker.deliver("1"), broker.deliver("2", attempt=2)
        await eventually(lambda: permanent.settled and exhausted.settled)
    assert permanent.settled == [("dead", "PermanentFailure: no JSON")]
    assert exhausted.settled == [("dead", "OSError: down")]


async def test_one_subject_in_order_others_beside_it(broker: FakeBroker) -> None:
    """Events of one subject run one after the other, those of others do not wait for them."""
    started: list[str] = []
    finish = asyncio.Event()

    async def handle(event: Event) -> None:
        started.append(event.id)
        if event.id == "a1":
            await finish.wait()

    async with run(broker, handle):
        for id_, subject in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")):
            broker.deliver(id_, subject)
        await eventually(lambda: started == ["a1", "b1"])
        finish.set()
        await eventually(lambda: started == ["a1", "b1", "a2", "a3"])


async def test_a_handler_that_hangs_is_retried(broker: FakeBroker) -> None:
    """A handler has a time limit, and passing it is a failure like others."""

    async def hang(_: Event) -> None:
        await asyncio.Event().wait()

    async with run(broker, hang, handler_timeout=0.01):
        delivery = broker.deliver("1")
        await eventually(lambda: delivery.settled)
    assert cast("tuple[str, float, str]", delivery.settled[0])[2] == "TimeoutError"


async def test_a_handler_whose_call_was_cancelled_is_retried(broker: FakeBroker) -> None:
    """A cancellation that comes out of a handler, and not from us, is a failure like others."""

    async def fail(_: Event) -> None:
        call = asyncio.get_running_loop().create_future()
        call.cancel()
        await call

    async with run(broker, fail):
        delivery = broker.deliver("1")
        await eventually(lambda: delivery.settled)
    assert cast("tuple[str, float, str]", delivery.settled[0])[0] == "retry"


async def test_leaving_waits_for_running_handlers_and_starts_no_other(broker: FakeBroker) -> None:
    """On shutdown what runs finishes and is settled; what waits behind it goes back."""
    running = asyncio.Event()
    finish = asyncio.Event()

    async def handle(_: Event) -> None:
        running.set()
        await finish.wait()

    async with run(broker, handle):
        first, second = broker.deliver("1", "a"), broker.deliver("2", "a")
        await running.wait()
        asyncio.get_running_loop().call_later(0.02, finish.set)
    assert first.settled == ["ack"]
    assert second.settled == []


async def test_leaving_does_not_wait_for_ever(broker: FakeBroker) -> None:
    """A handler that does not finish in time is cancelled and its delivery goes back unsettled."""
    cancelled = asyncio.Event()

    async def hang(_: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with run(broker, hang, drain_timeout=0.01):
        delivery = broker.deliver("1")
        await eventually(broker.waiting.empty)
    assert cancelled.is_set()
    assert delivery.settled == []


async def test_a_lost_broker_does_not_stop_the_loop(broker: FakeBroker) -> None:
    """A delivery that cannot be settled is left to redelivery; the next one is handled."""

    async def handle(_: Event) -> None:
        return

    async with run(broker, handle):
        broker.deliver("1", "a", unavailable=True)
        delivery = broker.deliver("2", "a")
        await eventually(lambda: delivery.settled == ["ack"])


async def test_a_span_continues_the_trace_of_the_event(broker: FakeBroker, exporter: InMemorySpanExporter) -> None:
    """Handling is a consumer span in the publisher's trace, with the messaging attributes."""
    telemetry = Telemetry("test", exporter)

    async def fail(_: Event) -> None:
        raise OSError("down")

    async with run(broker, fail, telemetry=telemetry):
        delivery = broker.deliver("1", attempt=3)
        await eventually(lambda: delivery.settled)
    telemetry.close()
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("process processing", SpanKind.CONSUMER)
    assert f"{span.context.trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert not span.status.is_ok
    attributes = dict(span.attributes or {})
    assert attributes["shop.protocol"] == "AMQP"
    assert attributes["messaging.system"] == "rabbitmq"
    assert attributes["messaging.destination.name"] == "processing"
    assert attributes["messaging.message.id"] == "1"
    assert attributes["messaging.operation.type"] == "process"
    assert attributes["messaging.message.body.size"] == 2
    assert attributes["shop.attempt"] == 3
