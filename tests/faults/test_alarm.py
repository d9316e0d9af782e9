"""RabbitMQ's alarm as the link proxy makes it: publishing waits, consuming goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import pytest
from pamqp import base, commands
from pamqp import frame as amqp_frame

from shop.fault.links.alarm import BLOCKED, UNBLOCKED, Frames
from shop.fault.links.proxy import LinkSpec, Proxy, proxying
from shop.fault.links.toxics import parse
from tests.conftest import RABBITMQ_URL
from tests.shop import free_ports
from tests.waiting import eventually

NAME = "orders->broker"
GREETING = b"AMQP\x00\x00\x09\x01"


def marshalled(method: base.Frame) -> bytes:
    return bytes(amqp_frame.marshal(method, 1))


ACK = marshalled(commands.Basic.Ack(7))
PUBLISH = marshalled(commands.Basic.Publish(exchange="e", routing_key="order.placed"))
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


@pytest.mark.parametrize(("sent", "name"), [(BLOCKED, "Connection.Blocked"), (UNBLOCKED, "Connection.Unblocked")])
def test_what_a_client_gets_is_amqp(sent: bytes, name: str) -> None:
    """A library that reads AMQP reads the whole of it as that method, on channel 0."""
    size, channel, method = amqp_frame.unmarshal(sent)
    assert (size, channel, method.name) == (len(sent), 0, name)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 1_000])
def test_frames_are_followed_however_they_are_cut(size: int) -> None:
    """After all of them, in pieces of any size, the next one begins where it does."""
    frames = Frames()
    sent = GREETING + ACK + HEARTBEAT + ACK + PUBLISH + ACK
    for position in range(0, len(sent), size):
        frames.passed(sent[position : position + size])
    assert frames.before_publish(ACK + HEARTBEAT + PUBLISH) == len(ACK + HEARTBEAT)
    assert frames.before_publish(ACK + HEARTBEAT) == len(ACK + HEARTBEAT)
    frames.passed(ACK[:3])
    assert frames.before_publish(ACK[3:] + PUBLISH) == len(ACK[3:])


@asynccontextmanager
async def link_to_rabbitmq() -> AsyncIterator[tuple[Proxy, str]]:
    """A link to the broker; the proxy, and a URL that leads through it."""
    parts = urlsplit(RABBITMQ_URL)
    (port,) = free_ports(1)
    spec = LinkSpec(
        NAME, "orders", "broker", "AMQP", ("127.0.0.1", port), (parts.hostname or "127.0.0.1", parts.port or 5672)
    )
    async with proxying([spec]) as proxy:
        user, at, _ = parts.netloc.rpartition("@")
        yield proxy, RABBITMQ_URL.replace(f"//{parts.netloc}", f"//{user}{at}127.0.0.1:{port}", 1)


@pytest.mark.rabbitmq
async def test_publishing_waits_for_the_alarms_end_and_consuming_does_not() -> None:
    """A confirm comes only after it; deliveries and acknowledgements on another connection go on, and none is lost."""
    async with (
        link_to_rabbitmq() as (proxy, url),
        await aio_pika.connect(url) as publishing,
        await aio_pika.connect(url) as consuming,
        publishing.channel() as outward,
        consuming.channel() as inward,
    ):
        queue = await inward.declare_queue(f"test-{uuid4().hex[:12]}", auto_delete=True, exclusive=True)

        async def publish(body: bytes) -> None:
            await outward.default_exchange.publish(aio_pika.Message(body), queue.name)

        for body in (b"1", b"2"):
            await publish(body)
        first = await queue.get(timeout=20)
        fault = proxy.set([NAME], parse(["alarm"]), 60)
        waiting = asyncio.ensure_future(publish(b"3"))
        await eventually(lambda: proxy.get(fault.id).met == {NAME: 1})
        # The connection that only consumes is not blocked.
        second = await queue.get(timeout=20)
        await first.ack()
        await second.ack()
        assert (first.body, second.body) == (b"1", b"2")
        assert not waiting.done()
        await proxy.end(fault.id)
        await asyncio.wait_for(waiting, 20)
        third = await queue.get(timeout=20)
        assert third.body == b"3"
        await third.ack()


async def test_a_link_to_another_server_has_no_alarm() -> None:
    """It is RabbitMQ's; with another broker it is refused."""
    (port,) = free_ports(1)
    async with proxying([LinkSpec("a->b", "a", "b", "gRPC", ("127.0.0.1", port), ("127.0.0.1", 9))]) as proxy:
        with pytest.raises(ValueError, match="alarm must be on a link to RabbitMQ"):
            proxy.set(["a->b"], parse(["alarm"]), 1)
