"""Every way in which RabbitMQ says "not now" is `BrokerUnavailable`; afterwards all goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from aio_pika.abc import AbstractIncomingMessage

from chassis.broker import connect
from chassis.broker.event_log import START, LogReader
from chassis.broker.port import Broker, BrokerUnavailable, Delivery, Event
from chassis.broker.rabbitmq import connection, event_log
from tests.contract.events import TOPOLOGY, an_event
from tests.own_rabbitmq import OwnRabbitMQ, own_rabbitmq_node
from tests.waiting import eventually

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def stopped() -> Iterator[OwnRabbitMQ]:
    with own_rabbitmq_node() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(stopped: OwnRabbitMQ) -> OwnRabbitMQ:
    """A running RabbitMQ of this module's own."""
    await stopped.start()
    return stopped


@pytest_asyncio.fixture(loop_scope="module")
async def broker(node: OwnRabbitMQ, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    """Connected to it, and sooner convinced than otherwise that it does not answer."""
    monkeypatch.setattr(connection, "PUBLISH_TIMEOUT", 1.0)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 1.0)
    found = await connect(node.url, TOPOLOGY)
    yield found
    await found.close()


@asynccontextmanager
async def working(broker: Broker) -> AsyncIterator[tuple[dict[str, int], list[str]]]:
    """A consumer of `mail` and a reader of the log at work: how often each event came to them."""
    handled: dict[str, int] = {}
    read: list[str] = []

    async def consume(deliveries: AsyncIterator[Delivery]) -> None:
        async for delivery in deliveries:
            with suppress(BrokerUnavailable):  # it went back to its queue, and comes again
                await delivery.ack()
                handled[delivery.event.id] = handled.get(delivery.event.id, 0) + 1

    async def follow(log: LogReader) -> None:
        async for entry in log:
            read.append(entry.event.id)  # noqa: PERF401 - seen by the test as it comes

    async with broker.deliveries("mail") as deliveries, broker.log.tail() as log:
        tasks = [asyncio.create_task(consume(deliveries)), asyncio.create_task(follow(log))]
        try:
            yield handled, read
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def publish(broker: Broker, event: Event, *, within: float = 60) -> int:
    """Publish an event as the outbox relay does, again until it is confirmed; how often it was refused."""
    refused = 0

    async def confirmed() -> bool:
        nonlocal refused
        try:
            await broker.publish([event])
        except BrokerUnavailable:
            refused += 1
            return False
        return True

    await eventually(confirmed, within=within)
    return refused


async def arrives(event: Event, handled: dict[str, int], read: list[str]) -> None:
    await eventually(lambda: event.id in handled and event.id in read, within=30)


async def test_connections_that_an_operator_closes(node: OwnRabbitMQ, broker: Broker) -> None:
    """Connections closed from outside (320, CONNECTION_FORCED) are opened again, and nothing is lost."""
    async with working(broker) as (handled, read):
        for _ in range(3):
            before, after = an_event("order.shipped"), an_event("order.shipped")
            await publish(broker, before)
            node.control("close_all_connections", "maintenance")
            await publish(broker, after)
            await arrives(before, handled, read)
            await arrives(after, handled, read)
        assert await broker.healthy()


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(
            ("set_vm_memory_high_watermark", "absolute", "1"), ("set_vm_memory_high_watermark", "0.4"), id="memory"
        ),
        pytest.param(("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "1MB"), id="disk"),
    ],
)
async def test_alarm(node: OwnRabbitMQ, broker: Broker, begin: tuple[str, ...], end: tuple[str, ...]) -> None:
    """While RabbitMQ takes nothing for want of memory or disk, publishing raises "not now" and consuming goes on."""
    async with working(broker) as (handled, read):
        node.control(*begin)
        try:
            waiting = an_event("order.shipped")
            with pytest.raises(BrokerUnavailable):
                await broker.publish([waiting])
            assert not await broker.healthy()
        finally:
            node.control(*end)
        await publish(broker, waiting)
        await arrives(waiting, handled, read)
        await eventually(broker.healthy)


async def test_alarm_leaves_no_copies(node: OwnRabbitMQ, broker: Broker) -> None:
    """What was tried several times while RabbitMQ took nothing is there once it does: no copy for each attempt."""
    async with working(broker) as (handled, read):
        node.control("set_disk_free_limit", "900000GB")
        try:
            waiting = an_event("order.shipped")
            for _ in range(6):
                with pytest.raises(BrokerUnavailable):
                    await broker.publish([waiting])
        finally:
            node.control("set_disk_free_limit", "1MB")
        last = an_event("order.shipped")
        await publish(broker, waiting)
        await publish(broker, last)
        await arrives(last, handled, read)
        # One is written before RabbitMQ has said that it takes none.
        assert handled[waiting.id] <= 2
        assert read.count(waiting.id) <= 2


async def test_delayed_delivery_that_is_due_during_an_alarm(node: OwnRabbitMQ, broker: Broker) -> None:
    """A delayed delivery that cannot be moved for as long as RabbitMQ takes nothing is delivered once or twice."""
    event = an_event()
    async with broker.deliveries("processing") as deliveries:
        await publish(broker, event)
        delivery = await anext(deliveries)
        while delivery.event.id != event.id:  # what another test has left
            await delivery.ack()
            delivery = await anext(deliveries)
        await delivery.retry(2.0, "busy")
        node.control("set_disk_free_limit", "900000GB")
        try:
            for _ in range(6):  # each takes as long as an attempt to move it
                with pytest.raises(BrokerUnavailable):
                    await broker.publish([an_event("order.shipped")])
        finally:
            node.control("set_disk_free_limit", "1MB")
        await publish(broker, an_event("order.shipped"))  # after all copies, on the same channel
        async with asyncio.timeout(30):
            await (await anext(deliveries)).ack()
    depths = {depth.queue: depth for depth in await broker.depths()}
    assert depths["processing"].ready + depths["processing"].delayed <= 1


@pytest.mark.parametrize("queue", ["mail", "mail.retry"])
async def test_work_queue_that_is_deleted(node: OwnRabbitMQ, broker: Broker, queue: str) -> None:
    """A consumer whose queue is deleted declares it anew on the live connection, and gets the next event."""
    async with working(broker) as (handled, read):
        before = an_event("order.shipped")
        await publish(broker, before)
        await arrives(before, handled, read)
        node.control("delete_queue", queue)

        async def consumed() -> bool:
            with suppress(BrokerUnavailable):  # while it is missing
                return {depth.queue: depth.consumers for depth in await broker.depths()}["mail"] == 1
            return False

        await eventually(consumed)
        event = an_event("order.shipped")
        await publish(broker, event)
        await arrives(event, handled, read)


async def test_stream_that_is_missing(node: OwnRabbitMQ, broker: Broker) -> None:
    """A log that was deleted raises its own error, and is there again once a connection is made anew."""
    await broker.log.last_position()  # with a connection, which lives on
    node.control("delete_queue", TOPOLOGY.log)
    with pytest.raises(BrokerUnavailable):
        await broker.log.last_position()
    node.control("close_all_connections", "maintenance")

    async def there() -> bool:
        with suppress(BrokerUnavailable):
            return await broker.log.last_position() == START
        return False

    await eventually(there, within=30)
    async with working(broker) as (handled, read):
        event = an_event("order.shipped")
        await publish(broker, event)
        await arrives(event, handled, read)


async def test_node_that_is_down(node: OwnRabbitMQ, broker: Broker) -> None:
    """A node that is killed and started again has lost nothing that it confirmed; meanwhile all is "not now"."""
    async with working(broker) as (handled, read):
        kept = an_event("order.placed")
        await publish(broker, kept)
        node.kill()
        waiting = an_event("order.shipped")
        for ask in (
            broker.publish([waiting]),
            broker.log.last_position(),
            broker.depths(),
            broker.dead_letters("mail"),
        ):
            with pytest.raises(BrokerUnavailable):
                await ask
        assert not await broker.healthy()
        await node.start()
        await publish(broker, waiting)
        await arrives(waiting, handled, read)
        async with broker.deliveries("processing") as deliveries, asyncio.timeout(20):
            assert (await anext(deliveries)).event == kept


async def test_log_that_is_slow_is_not_taken_for_an_empty_one(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be read from its beginning, and clients would get a week's events as if they happened now."""
    await broker.publish([an_event()])
    last = await broker.log.last_position()

    async def silent(_: event_log.Reader) -> tuple[int, AbstractIncomingMessage]:
        return await asyncio.Future()

    monkeypatch.setattr(event_log, "EMPTY_TIMEOUT", 0.05)
    monkeypatch.setattr(event_log.Reader, "next", silent)

    async def refused() -> bool:
        try:
            assert await broker.log.last_position() == START  # until RabbitMQ has counted, which takes seconds
        except BrokerUnavailable:
            return True
        return False

    await eventually(refused)
    monkeypatch.undo()
    assert await broker.log.last_position() == last
