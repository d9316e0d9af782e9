"""A client's topics reach it: live, again after an interruption, never twice, and never another user's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chassis.broker.embedded.event_log import PRUNE_EVERY
from tests.notifier.conftest import Client, Stage, an_event, numbered, token


def numbers(frames: list[dict[str, object]]) -> list[int]:
    return [frame["data"]["number"] for frame in frames]  # type: ignore[index]


async def publish_slowly(stage: Stage, first: int, last: int, at: Callable[[int], None] | None = None) -> None:
    for number in range(first, last + 1):
        await stage.broker.publish(numbered(number, number))
        if at is not None:
            at(number)


async def test_event_reaches_a_subscriber_as_the_surface_says(any_stage: Stage) -> None:
    """A live event arrives with its position, type, time, subject and data."""
    async with any_stage.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*")
        event = an_event("order.paid", payment_id="p1")
        await any_stage.broker.publish([event])
        frame = await client.receive()
    assert set(frame) == {"id", "type", "time", "subject", "data"}
    assert frame["id"] == str(await any_stage.broker.log.last_position())
    assert (frame["type"], frame["subject"]) == ("order.paid", "o1")
    assert frame["time"] == event.time.isoformat().replace("+00:00", "Z")
    assert frame["data"] == {"order_id": "o1", "payment_id": "p1"}


async def test_only_subscribed_topics_arrive(stage: Stage) -> None:
    """Patterns match as AMQP's do, and what was unsubscribed comes no more."""
    async with stage.notifier() as copy, copy.client(token(role="admin")) as client:
        await client.subscribe("order.*", "stock.#")
        types = ["order.paid", "chat.posted", "stock.changed", "order.shipped"]
        await stage.broker.publish([an_event(type_) for type_ in types])
        assert [frame["type"] for frame in await client.events(3)] == ["order.paid", "stock.changed", "order.shipped"]
        await client.send(action="unsubscribe", topics=["order.*"])
        assert await client.receive() == {"type": "unsubscribed", "topics": ["order.*"]}
        await stage.broker.publish([an_event("order.paid"), an_event("stock.changed")])
        assert (await client.receive())["type"] == "stock.changed"


async def test_customer_sees_only_what_concerns_them(stage: Stage) -> None:
    """A customer receives only events that carry their user id, live and replayed; an admin receives everything."""
    mine, theirs = an_event("order.paid", subject="mine"), an_event("order.paid", owner="456", subject="theirs")
    nobodys = an_event("stock.changed", owner="", subject="nobodys")
    async with (
        stage.notifier() as copy,
        copy.client() as customer,
        copy.client(token("1", "admin")) as admin,
        copy.client(token("123", "service")) as service,
    ):
        for client in (customer, admin, service):
            await client.subscribe("#")
        await stage.broker.publish([theirs, nobodys, mine])
        assert [frame["subject"] for frame in await admin.events(3)] == ["theirs", "nobodys", "mine"]
        assert (await customer.receive())["subject"] == "mine"
        await service.silence()
        async with copy.client() as late:
            await late.subscribe("#", after="0")
            assert (await late.receive())["subject"] == "mine"
            await late.silence()


async def test_replay_then_live(any_stage: Stage) -> None:
    """What was missed comes first, then what happens, in the log's order and each once."""
    await any_stage.broker.publish(numbered(1, 30))
    async with any_stage.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*")
        await any_stage.broker.publish(numbered(31, 31))
        last = await client.receive()
    after = str(int(last["id"]) - 20)
    async with any_stage.notifier() as copy, copy.client() as client:
        assert await client.subscribe("order.*", after=after) == after
        await any_stage.broker.publish(numbered(32, 40))
        frames = await client.events(29)
        await client.silence()
    assert numbers(frames) == list(range(12, 41))


async def test_nothing_is_lost_or_repeated_while_events_keep_coming(any_stage: Stage) -> None:
    """Clients that come and go on two copies during a stream of events see each event once, in order."""
    total = 300
    async with any_stage.notifier() as one, any_stage.notifier() as other:
        publishing = asyncio.create_task(publish_slowly(any_stage, 1, total))

        async def restless(steps: int) -> list[int]:
            seen: list[int] = []
            after: str | None = "0"
            turn = 0
            while len(seen) < total:
                async with (one, other)[turn % 2].client() as client:
                    await client.subscribe("order.*", after=after)
                    for frame in await client.events(min(steps, total - len(seen))):
                        seen.append(frame["data"]["number"])
                        after = frame["id"]
                turn += 1
            return seen

        for seen in await asyncio.gather(restless(7), restless(50), restless(299)):
            assert seen == list(range(1, total + 1))
        await publishing


async def test_slow_replay_falls_back_to_the_log(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that catches up more slowly than events come still gets all of them once."""
    monkeypatch.setattr("services.notifier.delivery.replay._RECENT_EVENTS", 5)
    monkeypatch.setattr("services.notifier.delivery.replay._BATCH_SIZE", 3)
    await stage.broker.publish(numbered(1, 100))
    async with stage.notifier() as copy, copy.client() as client:
        publishing = asyncio.create_task(publish_slowly(stage, 101, 300))
        await client.subscribe("order.*", after="0")
        assert numbers(await client.events(300)) == list(range(1, 301))
        await publishing
        await client.silence()


async def test_client_resumes_on_another_copy(any_stage: Stage) -> None:
    """A position from one copy resumes on another, also when the first one has been stopped in between."""
    async with any_stage.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*")
        await any_stage.broker.publish(numbered(1, 3))
        position = (await client.events(3))[-1]["id"]
    await any_stage.broker.publish(numbered(4, 6))
    async with any_stage.notifier() as copy, copy.client() as client:
        await client.subscribe("order.*", after=position)
        await any_stage.broker.publish(numbered(7, 7))
        assert numbers(await client.events(4)) == [4, 5, 6, 7]


async def test_subscription_without_an_event_can_be_resumed(stage: Stage) -> None:
    """The answer to a subscription is a position to resume from, though no event has come yet."""
    await stage.broker.publish(numbered(1, 1))
    async with stage.notifier() as copy:
        async with copy.client() as client:
            position = await client.subscribe("order.*")
        await stage.broker.publish(numbered(2, 2))
        async with copy.client() as client:
            await client.subscribe("order.*", after=position)
            assert numbers(await client.events(1)) == [2]
            await client.silence()


async def test_second_topic_is_replayed_without_repeating_the_first(stage: Stage) -> None:
    """Subscribing to a further topic from a position repeats nothing that came live for the first."""
    async with stage.notifier() as copy, copy.client() as client:
        start = await client.subscribe("order.paid")
        await stage.broker.publish([an_event("order.paid"), an_event("order.shipped"), an_event("order.paid")])
        assert [frame["type"] for frame in await client.events(2)] == ["order.paid", "order.paid"]
        await client.subscribe("order.*", after=start)
        assert (await client.receive())["type"] == "order.shipped"
        await stage.broker.publish([an_event("order.cancelled")])
        assert (await client.receive())["type"] == "order.cancelled"


async def test_two_topics_resume_in_one_breath(stage: Stage) -> None:
    """Two subscriptions sent at once are both replayed and then live."""
    await stage.broker.publish([an_event("order.paid"), an_event("chat.posted"), an_event("order.shipped")])
    async with stage.notifier() as copy, copy.client() as client:
        await client.send(action="subscribe", topics=["order.*"], after="0")
        await client.send(action="subscribe", topics=["chat.*"], after="0")
        frames = await client.events(5)
        events = [frame["type"] for frame in frames if frame["type"] != "subscribed"]
        assert events == ["order.paid", "order.shipped", "chat.posted"]
        await stage.broker.publish([an_event("chat.posted"), an_event("order.paid")])
        assert [frame["type"] for frame in await client.events(2)] == ["chat.posted", "order.paid"]


async def test_position_beyond_retention_answers_resync(forgetful_stage: Stage) -> None:
    """A position that the log no longer has is answered with resync, and what happens next comes live."""
    stage = forgetful_stage
    await stage.broker.publish(numbered(1, PRUNE_EVERY))
    async with stage.notifier() as copy, copy.client() as client:
        await client.send(action="subscribe", topics=["order.*"], after="5")
        assert await client.receive() == {"type": "resync"}
        answer = await client.receive()
        assert (answer["type"], answer["position"]) == ("subscribed", str(PRUNE_EVERY))
        await stage.broker.publish(numbered(1, 1))
        assert numbers(await client.events(1)) == [1]


async def test_position_from_the_future_answers_resync(any_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A position that the log has not reached, from another log perhaps, is answered with resync."""
    monkeypatch.setattr("services.notifier.delivery.session._BEHIND_SECONDS", 0.1)
    async with any_stage.notifier() as copy, copy.client() as client:
        await client.send(action="subscribe", topics=["order.*"], after="99999")
        assert await client.receive() == {"type": "resync"}


@pytest.mark.parametrize("position", ["", "x", "-1", "1e3", "\u0661", "9" * 30, "0190b3f2-7c1e-7000-8000-000000000000"])
async def test_foreign_position_answers_resync(stage: Stage, position: str) -> None:
    """A position that no log of ours gives out is answered with resync at once, and what happens next comes live."""
    async with stage.notifier() as copy, copy.client() as client:
        await client.send(action="subscribe", topics=["order.*"], after=position)
        assert await client.receive() == {"type": "resync"}
        assert (await client.receive())["type"] == "subscribed"
        await stage.broker.publish(numbered(1, 1))
        assert numbers(await client.events(1)) == [1]


async def test_hundred_clients_resume_at_once(stage: Stage) -> None:
    """Clients that all resume at once, as after a restart, are all served."""
    await stage.broker.publish(numbered(1, 20))

    async def resumed(client: Client) -> list[int]:
        await client.subscribe("order.*", after="0")
        return numbers(await client.events(20))

    async def one() -> list[int]:
        async with copy.client() as client:
            return await resumed(client)

    async with stage.notifier() as copy:
        assert await asyncio.gather(*(one() for _ in range(100))) == [list(range(1, 21))] * 100
