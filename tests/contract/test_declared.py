"""RabbitMQ whose topology somebody else declares: the processes only look whether it is there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chassis.broker import connect
from chassis.broker.port import BrokerUnavailable, Event
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
            assert await careful.last_position() > 0
        finally:
            await careful.close()


async def test_unknown_topology_option_is_refused() -> None:
    """A broker URL with an option that means nothing is an error, not a guess."""
    with pytest.raises(ValueError, match="neither declare nor declared"):
        await connect("amqp://localhost/?topology=guess", TOPOLOGY)
