"""The notifier over an event log with twelve partitions, which each copy reads in an order of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.broker import connect
from chassis.broker.port import Event
from tests import kafka
from tests.notifier.conftest import TOPOLOGY, Copy, Stage, an_event, numbered, staged
from tests.notifier.test_sse import streaming

pytestmark = pytest.mark.kafka


def spread(first: int, last: int) -> list[Event]:
    """Events with a number, about so many orders that every partition has some."""
    return [an_event(subject=f"o{number % 31}", number=number) for number in range(first, last + 1)]


@pytest.fixture
async def topic() -> AsyncIterator[kafka.OwnTopic]:
    async with kafka.own_topic("tansu") as found:
        yield found


@pytest.fixture
async def on_kafka(topic: kafka.OwnTopic, tmp_path: Path) -> AsyncIterator[Stage]:
    """Work queues on the embedded broker, and the event log on Kafka."""
    async with staged(tmp_path, f"embedded:{tmp_path / 'broker.sqlite'}", log_url=topic.url) as found:
        yield found


async def received(copy: Copy, after: str, count: int) -> tuple[list[int], str]:
    """The numbers of the next events at a copy, and where the client is then."""
    async with copy.client() as client:
        await client.subscribe("order.*", after=after)
        frames = await client.events(count)
        return [frame["data"]["number"] for frame in frames], frames[-1]["id"]


async def test_a_client_goes_from_copy_to_copy(on_kafka: Stage) -> None:
    """A client that comes to another copy in the middle of what it missed, misses nothing and repeats nothing."""
    async with on_kafka.notifier() as one, on_kafka.notifier() as two:
        seen: list[int] = []
        position, published = "0", 0
        for turn in range(6):
            await on_kafka.broker.publish(spread(published + 1, published + 40))
            published += 40
            # Less than there is, so that it goes away at a place where no copy ever was.
            numbers, position = await received((one, two)[turn % 2], position, 33)
            seen += numbers
        numbers, position = await received(one, position, published - len(seen))
        assert sorted(seen + numbers) == list(range(1, published + 1))


async def test_copies_that_started_apart_serve_the_same(on_kafka: Stage) -> None:
    """A client of a copy that read the log live goes on at one that has just started, and hears what happens there."""
    async with on_kafka.notifier() as old, old.client() as client:
        await client.subscribe("order.*")
        await on_kafka.broker.publish(spread(1, 60))
        frames = await client.events(50)
        async with on_kafka.notifier() as new, new.client() as moved:
            await moved.subscribe("order.*", after=frames[-1]["id"])
            rest = await moved.events(10)
            await on_kafka.broker.publish(spread(61, 70))
            rest += await moved.events(10)
            await moved.silence()
        seen = [frame["data"]["number"] for frame in (*frames, *rest)]
        assert sorted(seen) == list(range(1, 71))


async def test_event_streams_resume_too(on_kafka: Stage) -> None:
    """`Last-Event-ID` is the same position."""
    await on_kafka.broker.publish(spread(1, 40))
    async with on_kafka.notifier() as copy:
        numbers, position = await received(copy, "0", 25)
        async with streaming(copy, last_event_id=position) as stream, asyncio.timeout(30):
            rest = [int((await stream.event())["data"]["number"]) for _ in range(15)]
        assert sorted(numbers + rest) == list(range(1, 41))


async def test_many_resume_at_once_from_anywhere(on_kafka: Stage) -> None:
    """Clients with positions of their own, as after a restart, each get exactly what they miss."""
    await on_kafka.broker.publish(spread(1, 120))
    async with on_kafka.notifier() as before:
        halves = await asyncio.gather(*(received(before, "0", 7 * each + 1) for each in range(15)))
    async with on_kafka.notifier() as after:
        rests = await asyncio.gather(*(received(after, at, 120 - len(numbers)) for numbers, at in halves))
    for (first, _), (rest, _) in zip(halves, rests, strict=True):
        assert sorted(first + rest) == list(range(1, 121))


async def test_a_repeat_reaches_clients_once(on_kafka: Stage) -> None:
    """An event that the log has twice, as after a relay's death, is one frame: live, and for a later client."""
    async with on_kafka.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*")
        events = numbered(1, 3)
        await on_kafka.broker.publish(events)
        await on_kafka.broker.publish(events[1:])
        await on_kafka.broker.publish(numbered(4, 4))
        assert [frame["data"]["number"] for frame in await client.events(4)] == [1, 2, 3, 4]
        await client.silence()
        assert (await received(copy, "0", 4))[0] == [1, 2, 3, 4]


async def test_position_of_the_log_before_answers_resync(on_kafka: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was served from the broker's own log, before Kafka was there, gets a resync."""
    monkeypatch.setattr("services.notifier.delivery.session._BEHIND_SECONDS", 0.1)
    await on_kafka.broker.publish(spread(1, 40))
    async with on_kafka.notifier() as copy, copy.client() as client:
        await client.send(action="subscribe", topics=["order.*"], after="31")
        assert await client.receive() == {"type": "resync"}
        assert (await client.receive())["type"] == "subscribed"
        await on_kafka.broker.publish(spread(41, 41))
        assert (await client.receive())["data"]["number"] == 41


async def test_clients_are_told_of_a_lost_log(on_kafka: Stage, topic: kafka.OwnTopic) -> None:
    """A topic that begins anew is answered with resync and a position, after which all comes."""
    await on_kafka.broker.publish(spread(1, 20))
    async with on_kafka.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*")
        await on_kafka.broker.publish(spread(21, 21))
        assert (await client.receive())["data"]["number"] == 21
        await topic.lose()
        anew = await connect(on_kafka.broker_url, TOPOLOGY, log_url=topic.url)
        try:
            await anew.log.partitions()  # the topic is made anew
            assert await client.receive() == {"type": "resync"}
            assert (await client.receive())["type"] == "subscribed"
            await anew.publish(spread(22, 26))
            assert sorted(frame["data"]["number"] for frame in await client.events(5)) == list(range(22, 27))
        finally:
            await anew.close()
