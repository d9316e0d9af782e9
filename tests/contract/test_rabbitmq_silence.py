"""A RabbitMQ that is gone without a word: no end of the connection, no answer; heartbeats alone tell."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from chassis.broker import connect
from chassis.broker.port import Event, Topology
from chassis.settings import TOPOLOGY
from shop.fault.links.proxy import LinkSpec, proxying
from shop.fault.links.toxics import Direction, Kind, Toxic
from tests.rabbitmq import own_rabbitmq
from tests.shop import free_ports

pytestmark = pytest.mark.rabbitmq

NAME = "mailer->broker"
QUEUE = "order-mail"
# Shorter than what customers wait for an order at most; heartbeats every 10 s tell after 33 to 38 s.
_WITHIN = 50.0


def silent(numbers: range, later: range) -> Toxic:
    """A black hole for the connections of these numbers, and for none of those later."""
    for seed in range(100_000):
        toxic = Toxic(Kind.BLACK_HOLE, probability=0.5, seed=seed)
        concerned = [toxic.concerns(number, Direction.REQUEST) for number in (*numbers, *later)]
        if concerned == [True] * len(numbers) + [False] * len(later):
            return toxic
    raise AssertionError("no seed draws these connections")


def an_event() -> Event:
    return Event(uuid4().hex, "order.confirmed", "/orders", uuid4().hex, datetime.now(UTC), b"{}")


async def test_a_connection_that_has_become_silent_is_replaced() -> None:
    """What RabbitMQ had for it is delivered over another one, before a minute is over."""
    topology = Topology.load(TOPOLOGY)
    async with own_rabbitmq(topology) as url:
        parts = urlsplit(url)
        (port,) = free_ports(1)
        upstream = (parts.hostname or "127.0.0.1", parts.port or 5672)
        listen = f"{parts.username}:{parts.password}@127.0.0.1:{port}" if parts.username else f"127.0.0.1:{port}"
        link = LinkSpec(NAME, "mailer", "broker", "AMQP", ("127.0.0.1", port), upstream)
        async with proxying([link]) as proxy:
            direct = await connect(url, topology)
            behind = await connect(parts._replace(netloc=listen).geturl(), topology)
            try:
                async with behind.deliveries(QUEUE) as deliveries:
                    first, second = an_event(), an_event()
                    await direct.publish([first])
                    delivery = await asyncio.wait_for(anext(deliveries), 30)
                    await delivery.ack()
                    assert delivery.event.id == first.id
                    opened = proxy.links[NAME].counts.opened
                    proxy.set([NAME], [silent(range(1, opened + 1), range(opened + 1, opened + 7))], 120)
                    await direct.publish([second])
                    async with asyncio.timeout(_WITHIN):
                        # The acknowledgement of the first may have been lost in the silence: then it comes again.
                        while (delivery := await anext(deliveries)).event.id != second.id:
                            assert delivery.event.id == first.id
                            await delivery.ack()
                    await delivery.ack()
            finally:
                await behind.close()
                await direct.close()
