"""RabbitMQ whose topology an operator declares: the processes only check that it is there."""

from __future__ import annotations

from datetime import UTC, datetime

import aio_pika
import pytest

from chassis.broker import connect
from chassis.broker.port import BrokerUnavailable, Event
from tests.conftest import RABBITMQ_URL
from tests.contract.events import TOPOLOGY
from tests.rabbitmq import own_rabbitmq


@pytest.mark.rabbitmq
async def test_declared_topology_is_used_and_a_missing_one_is_waited_for() -> None:
    """With `topology=declared` nothing is made: until it is there the broker counts as away, and then it works."""
    event = Event("e1", next(iter(TOPOLOGY.queues.values()))[0].replace("*", "x"), "/t", "s", datetime.now(UTC), b"{}")
    async with own_rabbitmq(TOPOLOGY) as url:
        careful = await connect(f"{url}&topology=declared", TOPOLOGY)
        try:
            assert not await careful.healthy()
            with pytest.raises(BrokerUnavailable, match="NOT_FOUND"):
                await careful.publish([event])
            declaring = await connect(url, TOPOLOGY)
            await declaring.close()
            await careful.publish([event])
            assert not (await careful.log.last_position()).is_start
        finally:
            await careful.close()


@pytest.mark.rabbitmq
@pytest.mark.parametrize("suffix", ["", ".retry", ".dead", "log"])
async def test_queue_that_was_declared_otherwise_is_named(suffix: str) -> None:
    """A queue with arguments of an older version is named, with what differs and how to mend it; mended, all works."""
    event = Event("e1", "order.placed", "/t", "s", datetime.now(UTC), b"{}")
    name = TOPOLOGY.log if suffix == "log" else next(iter(TOPOLOGY.queues)) + suffix
    async with own_rabbitmq(TOPOLOGY) as url:
        queue = url.partition("?prefix=")[2] + name
        async with await aio_pika.connect(RABBITMQ_URL) as connection, connection.channel() as channel:
            await channel.declare_queue(queue, durable=True)
            broker = await connect(url, TOPOLOGY)
            try:
                with pytest.raises(
                    BrokerUnavailable, match=f"{queue} exists with other arguments.*inequivalent arg 'x-.*delete_queue"
                ):
                    await broker.publish([event])
                await channel.queue_delete(queue)
                await broker.publish([event])
            finally:
                await broker.close()


async def test_unknown_topology_option_is_refused() -> None:
    """A broker URL with an option that means nothing is an error, not a guess."""
    with pytest.raises(ValueError, match="must be declare or declared"):
        await connect("amqp://localhost/?topology=guess", TOPOLOGY)
