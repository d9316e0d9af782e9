"""The broker port's promises, on every adapter."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest

from chassis.broker import cloudevents, connect
from chassis.broker.cloudevents import MAX_DATA_BYTES, InvalidEvent
from chassis.broker.consumer import consuming
from chassis.broker.event_log import START, LogEntry
from chassis.broker.port import Broker, BrokerUnavailable, Delivery, Event, QueueDepth
from chassis.observability.tracing import Telemetry
from tests.contract.conftest import RABBITMQ_URL, Connect
from tests.contract.events import TOPOLOGY, an_event
from tests.contract.proxy import proxy
from tests.waiting import eventually

REPOSITORY = Path(__file__).parents[2]


async def take(deliveries: AsyncIterator[Delivery], count: int, *, within: float = 10.0) -> list[Delivery]:
    """The next deliveries, none of them settled."""
    async with asyncio.timeout(within):
        return [await anext(deliveries) for _ in range(count)]


async def read(entries: AsyncIterator[LogEntry], count: int, *, within: float = 10.0) -> list[LogEntry]:
    """The next entries of the log."""
    async with asyncio.timeout(within):
        return [await anext(entries) for _ in range(count)]


async def nothing_comes(deliveries: AsyncIterator[Delivery], *, during: float = 0.3) -> bool:
    """Whether the queue stays silent for a while."""
    try:
        await take(deliveries, 1, within=during)
    except TimeoutError:
        return True
    return False


async def holds(broker: Broker, queue: str, *, ready: int = 0, delayed: int = 0, dead: int = 0) -> None:
    """Wait until a queue holds exactly this much: RabbitMQ counts a settlement a moment later."""
    expected = QueueDepth(queue, ready, delayed, dead)

    async def counted() -> bool:
        found = next(depth for depth in await broker.depths() if depth.queue == queue)
        assert found == expected
        return True

    await eventually(counted)


@asynccontextmanager
async def another_process(url: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tests.contract.broker_process`, killed on leaving if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.broker_process", url, *arguments,
        stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    """The next lines that a process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


class TestPublishing:
    async def test_an_event_reaches_each_queue_that_is_bound_to_its_type(self, broker: Broker) -> None:
        """Topic bindings decide which queues get an event, and each gets all of it."""
        event = an_event("order.placed", subject="order-1")
        await broker.publish([event])
        for queue in ("processing", "audit", "everything"):
            async with broker.deliveries(queue) as deliveries:
                (delivery,) = await take(deliveries, 1)
                assert delivery.event == event
                assert delivery.attempt == 1
                await delivery.ack()
        await holds(broker, "mail")

    async def test_what_is_published_survives_the_connection(self, connected: Connect) -> None:
        """Published events are there for a consumer that connects later."""
        first = await connected()
        event = an_event()
        await first.publish([event])
        await first.close()
        second = await connected()
        async with second.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            assert delivery.event == event
            await delivery.ack()

    async def test_many_tasks_publish_at_once(self, broker: Broker) -> None:
        """Publishing from many tasks loses nothing and repeats nothing."""
        events = [an_event() for _ in range(200)]
        await asyncio.gather(*(broker.publish([event]) for event in events))
        async with broker.deliveries("processing", prefetch=200) as deliveries:
            received = await take(deliveries, 200)
            await asyncio.gather(*(delivery.ack() for delivery in received))
        assert sorted(delivery.event.id for delivery in received) == sorted(event.id for event in events)

    async def test_several_processes_publish_at_once(self, broker_url: str, broker: Broker) -> None:
        """Events of several processes all arrive."""
        arguments = ("publish", "order.placed", "50")
        async with another_process(broker_url, *arguments) as one, another_process(broker_url, *arguments) as two:
            published = await lines(one, 50) + await lines(two, 50)
        async with broker.deliveries("processing", prefetch=100) as deliveries:
            received = await take(deliveries, 100)
            assert {delivery.event.id for delivery in received} == set(published)

    async def test_an_unreadable_event_is_refused(self, broker: Broker) -> None:
        """An oversized event is refused and the rest of the broker goes on."""
        with pytest.raises(InvalidEvent):
            await broker.publish([an_event(), an_event(data=b"x" * (MAX_DATA_BYTES + 1))])
        await broker.publish([an_event("order.confirmed", data=b"x" * MAX_DATA_BYTES)])
        async with broker.deliveries("everything") as deliveries:
            (delivery,) = await take(deliveries, 1)
            assert delivery.event.type == "order.confirmed"
            assert len(delivery.event.data) == MAX_DATA_BYTES
            assert await nothing_comes(deliveries)

    async def test_a_file_that_cannot_be_is_refused_at_once(self, tmp_path: Path) -> None:
        """An embedded broker whose file cannot be made is `BrokerUnavailable` when it is opened."""
        blocked = tmp_path / "file"
        blocked.write_text("not a folder")
        with pytest.raises(BrokerUnavailable):
            await connect(f"embedded:{blocked}/broker.sqlite", TOPOLOGY)

    async def test_a_broker_that_is_away_at_the_start_is_used_once_it_is_there(self, tmp_path: Path) -> None:
        """A process starts without its RabbitMQ, gets an error when it publishes, and still closes cleanly."""
        broker = await connect("amqp://guest:guest@127.0.0.1:1/", TOPOLOGY)
        assert not await broker.healthy()
        with pytest.raises(BrokerUnavailable):
            await broker.publish([an_event()])
        await broker.close()

    async def test_a_closed_broker_is_unavailable(self, broker: Broker) -> None:
        """After closing, nothing is published and the broker is not healthy."""
        assert await eventually(broker.healthy)
        await broker.close()
        assert not await broker.healthy()
        with pytest.raises(BrokerUnavailable):
            await broker.publish([an_event()])


class TestConsuming:
    async def test_consumers_share_a_queue(self, connected: Connect) -> None:
        """Competing consumers get every event between them, and none twice."""
        brokers = [await connected() for _ in range(3)]
        events = [an_event() for _ in range(60)]
        received: list[tuple[int, str]] = []
        all_served = asyncio.Event()

        async def consume(index: int) -> None:
            async with brokers[index].deliveries("processing", prefetch=2) as deliveries:
                async for delivery in deliveries:
                    received.append((index, delivery.event.id))
                    # The first consumer holds what it may; the rest is the others'.
                    if len({by for by, _ in received}) == len(brokers):
                        all_served.set()
                    await all_served.wait()
                    await delivery.ack()

        tasks = [asyncio.create_task(consume(index)) for index in range(3)]
        await brokers[0].publish(events)
        await eventually(lambda: len(received) >= len(events))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(id_ for _, id_ in received) == sorted(event.id for event in events)
        assert {index for index, _ in received} == {0, 1, 2}

    async def test_a_consumer_holds_at_most_its_prefetch(self, broker: Broker) -> None:
        """The next delivery comes only when one of those held is settled."""
        await broker.publish([an_event() for _ in range(5)])
        async with broker.deliveries("processing", prefetch=2) as deliveries:
            first, _ = await take(deliveries, 2)
            assert await nothing_comes(deliveries)
            await first.ack()
            await take(deliveries, 1)
            assert await nothing_comes(deliveries)

    async def test_events_about_one_subject_come_in_order(self, broker: Broker) -> None:
        """Deliveries come in the order of publishing."""
        events = [an_event(subject="order-1") for _ in range(100)]
        for event in events[:10]:
            await broker.publish([event])
        await broker.publish(events[10:])
        async with broker.deliveries("processing", prefetch=7) as deliveries:
            for event in events:
                (delivery,) = await take(deliveries, 1)
                assert delivery.event.id == event.id
                await delivery.ack()

    async def test_a_cancelled_receive_loses_nothing(self, broker: Broker) -> None:
        """Giving up on waiting for a delivery does not lose the one that comes."""
        async with broker.deliveries("processing") as deliveries:
            for _ in range(5):
                assert await nothing_comes(deliveries, during=0.01)
            event = an_event()
            await broker.publish([event])
            (delivery,) = await take(deliveries, 1)
            assert delivery.event == event

    async def test_what_is_not_settled_comes_again(self, broker: Broker) -> None:
        """Leaving the context gives back what was held, as the same attempt; settling it then is too late."""
        event = an_event()
        await broker.publish([event])
        async with broker.deliveries("processing") as deliveries:
            (late,) = await take(deliveries, 1)
        async with broker.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            assert (delivery.event, delivery.attempt) == (event, 1)
            with pytest.raises(BrokerUnavailable):
                await late.ack()
            await delivery.ack()
        await holds(broker, "processing")

    async def test_closing_gives_back_what_is_held(self, connected: Connect) -> None:
        """Closing a broker ends its iterations, and what they held goes to someone else."""
        one, two = await connected(), await connected()
        event = an_event()
        async with one.deliveries("processing") as held:
            await one.publish([event])
            await take(held, 1)
            async with two.deliveries("processing") as deliveries:
                assert await nothing_comes(deliveries, during=0.1)
                await one.close()
                (delivery,) = await take(deliveries, 1)
                assert delivery.event == event
            assert [late async for late in held] == []

    async def test_a_killed_process_loses_nothing(self, broker_url: str, broker: Broker) -> None:
        """What a process held when it was killed is delivered to another at once, and as the same attempt."""
        events = [an_event() for _ in range(3)]
        await broker.publish(events)
        async with another_process(broker_url, "hold", "processing", "3") as holder:
            await lines(holder, 3)
            async with broker.deliveries("processing") as deliveries:
                assert await nothing_comes(deliveries)
                os.kill(holder.pid, signal.SIGKILL)
                killed = time.monotonic()
                received = await take(deliveries, 3)
                assert time.monotonic() - killed < 15
                assert [delivery.event for delivery in received] == events
                assert {delivery.attempt for delivery in received} == {1}

    async def test_an_event_from_another_process_arrives_promptly(self, broker_url: str, broker: Broker) -> None:
        """A waiting consumer is woken by a publisher in another process."""
        async with (
            broker.deliveries("processing") as deliveries,
            another_process(broker_url, "publish", "order.placed", "1") as publisher,
        ):
            (id_,) = await lines(publisher, 1)
            (delivery,) = await take(deliveries, 1, within=15)
            assert delivery.event.id == id_

    async def test_an_unknown_queue_is_refused(self, broker: Broker) -> None:
        """Consuming a queue that the topology does not have is an error at once."""
        with pytest.raises(ValueError, match="nowhere"):
            async with broker.deliveries("nowhere"):
                pass


class TestRetrying:
    async def test_a_retry_comes_after_its_delay(self, broker: Broker) -> None:
        """A retried delivery comes back not before its delay, as the next attempt, and unchanged."""
        event = an_event()
        await broker.publish([event])
        async with broker.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            retried = time.monotonic()
            await delivery.retry(0.4, "the payment provider is down")
            (again,) = await take(deliveries, 1)
            assert time.monotonic() - retried >= 0.39
            assert (again.event, again.attempt) == (event, 2)
            await again.ack()
            assert await nothing_comes(deliveries)

    async def test_a_long_delay_holds_up_nothing(self, broker: Broker) -> None:
        """Neither other deliveries nor shorter delays wait for a long one."""
        events = [an_event() for _ in range(3)]
        await broker.publish(events)
        async with broker.deliveries("processing", prefetch=3) as deliveries:
            long, short, plain = await take(deliveries, 3)
            await long.retry(30, "later")
            await short.retry(0.2, "soon")
            await plain.ack()
            (again,) = await take(deliveries, 1, within=15)
            assert again.event == events[1]

    async def test_a_delay_outlives_the_consumer(self, connected: Connect) -> None:
        """A delayed retry comes to another consumer when the one that delayed it is gone."""
        one, two = await connected(), await connected()
        event = an_event()
        await one.publish([event])
        async with one.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            await delivery.retry(0.3, "soon")
        await one.close()
        async with two.deliveries("processing") as deliveries:
            (again,) = await take(deliveries, 1)
            assert (again.event, again.attempt) == (event, 2)

    async def test_a_delay_is_kept_when_the_clock_is_set_back(
        self, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A retry does not wait for the hour by which the clock was set back, and does not come at once either."""
        event = an_event()
        await broker.publish([event])
        async with broker.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            await delivery.retry(0.5, "soon")
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() - 3_600)
        began = time.monotonic()
        async with broker.deliveries("processing") as deliveries:
            (again,) = await take(deliveries, 1)
            assert time.monotonic() - began >= 0.4
            assert (again.event, again.attempt) == (event, 2)

    async def test_a_failing_event_is_dead_lettered_after_five_retries(self, broker: Broker) -> None:
        """The consumer loop tries six times, then leaves the event to a person, with the reason."""
        attempts = []

        async def fail(event: Event) -> None:
            attempts.append(event.id)
            raise ValueError("the ERP answers nonsense")

        event = an_event()
        async with consuming(broker, "processing", fail, telemetry=Telemetry("test"), retry_delays=[0.01] * 5):
            await broker.publish([event])
            (letter,) = await eventually(lambda: broker.dead_letters("processing"))
        assert attempts == [event.id] * 6
        assert (letter.id, letter.queue, letter.event, letter.attempts) == (event.id, "processing", event, 6)
        assert letter.reason == "ValueError: the ERP answers nonsense"
        assert abs(letter.died_at.timestamp() - time.time()) < 10


class TestDeadLetters:
    async def add_dead_letters(self, broker: Broker, events: Sequence[Event]) -> None:
        await broker.publish(events)
        async with broker.deliveries("processing") as deliveries:
            for index in range(len(events)):
                (delivery,) = await take(deliveries, 1)
                await delivery.dead_letter(f"reason {index}")

    async def test_they_are_listed_oldest_first_and_stay(self, broker: Broker) -> None:
        """Listing shows the oldest and takes nothing away."""
        events = [an_event() for _ in range(5)]
        await self.add_dead_letters(broker, events)
        for _ in range(2):
            letters = await broker.dead_letters("processing", limit=3)
            assert [letter.event for letter in letters] == events[:3]
            assert [letter.reason for letter in letters] == ["reason 0", "reason 1", "reason 2"]
        await holds(broker, "processing", dead=5)
        assert await broker.dead_letters("mail") == []

    async def test_one_is_replayed_as_new(self, broker: Broker) -> None:
        """A replayed dead letter is delivered as a first attempt and is no dead letter any more."""
        events = [an_event() for _ in range(3)]
        await self.add_dead_letters(broker, events)
        assert await broker.replay_dead_letter("processing", events[1].id)
        assert not await broker.replay_dead_letter("processing", events[1].id)
        async with broker.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            assert (delivery.event, delivery.attempt) == (events[1], 1)
            await delivery.ack()
        assert {letter.id for letter in await broker.dead_letters("processing")} == {events[0].id, events[2].id}

    async def test_one_is_dropped(self, broker: Broker) -> None:
        """A dropped dead letter is gone; the others stay."""
        events = [an_event() for _ in range(2)]
        await self.add_dead_letters(broker, events)
        assert await broker.drop_dead_letters("processing", {events[0].id}) == {events[0].id}
        assert await broker.drop_dead_letters("processing", {events[0].id}) == set()
        assert [letter.id for letter in await broker.dead_letters("processing")] == [events[1].id]

    async def test_several_are_dropped_at_once(self, broker: Broker) -> None:
        """Those that were there are named; the others stay."""
        events = [an_event() for _ in range(4)]
        await self.add_dead_letters(broker, events)
        gone = {events[0].id, events[2].id}
        assert await broker.drop_dead_letters("processing", gone | {"another"}) == gone
        assert {letter.id for letter in await broker.dead_letters("processing")} == {events[1].id, events[3].id}


class TestLog:
    async def test_what_is_published_is_in_the_log(self, broker: Broker) -> None:
        """The log has every published event, whether a queue wants it or not; what is only appended is in no queue."""
        events = [an_event(type_) for type_ in ("order.placed", "stock.changed", "chat.posted")]
        await broker.publish(events)
        logged = an_event("order.placed")
        await broker.log.append([logged])
        async with broker.log.tail(START) as entries:
            assert [entry.event for entry in await read(entries, 4)] == [*events, logged]
        await holds(broker, "everything", ready=3)


class TestDepths:
    async def test_each_kind_is_counted(self, broker: Broker) -> None:
        """What is ready, delayed and dead is counted for each queue."""
        await broker.publish([an_event() for _ in range(4)])
        async with broker.deliveries("processing", prefetch=2) as deliveries:
            one, two = await take(deliveries, 2)
            await one.dead_letter("no")
            await two.retry(60, "later")

        await holds(broker, "processing", ready=2, delayed=1, dead=1)
        assert {depth.queue for depth in await broker.depths()} == set(TOPOLOGY.queues)

    async def test_queued_events_are_shown_or_said_not_to_be(self, broker: Broker) -> None:
        """Each unsettled event of a queue is shown, ready, held or delayed; None where the broker cannot show them."""
        events = [an_event() for _ in range(4)]
        await broker.publish(events)
        async with broker.deliveries("processing", prefetch=3) as deliveries:
            done, held, delayed = await take(deliveries, 3)
            await done.ack()
            await delayed.retry(60, "later")
            if broker.system == "rabbitmq":
                assert await broker.queued("processing") is None
                return

            async def seen() -> bool:
                # The one that was acknowledged made room for the last one.
                found = {each.id: each for each in await broker.queued("processing") or ()}
                assert found.keys() == {each.id for each in events} - {done.event.id}
                assert (found[held.event.id].held, found[held.event.id].attempt) == (True, 1)
                assert found[delayed.event.id].attempt == 2
                assert found[delayed.event.id].not_before is not None
                assert found[held.event.id].subject == held.event.subject
                return True

            await eventually(seen)
            assert len(await broker.queued("processing", limit=2) or ()) == 2


@pytest.mark.rabbitmq
@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
class TestMessageThatIsNoEvent:
    async def test_it_is_dead_lettered_as_it_came(self, broker_url: str, broker: Broker) -> None:
        """A foreign message neither stops the consumer nor disappears."""
        prefix = broker_url.partition("prefix=")[2]
        async with await aio_pika.connect(RABBITMQ_URL) as connection, connection.channel() as channel:
            foreign = aio_pika.Message(b"\xff not JSON", headers={"their": "header"})
            await channel.default_exchange.publish(foreign, f"{prefix}processing")
        event = an_event()
        await broker.publish([event])
        async with broker.deliveries("processing") as deliveries:
            (delivery,) = await take(deliveries, 1)
            assert delivery.event == event
            (letter,) = await eventually(lambda: broker.dead_letters("processing"))
        assert letter.event.data == b"\xff not JSON"
        assert letter.event.extensions["their"] == "header"
        assert "InvalidEvent" in letter.reason
        assert await broker.drop_dead_letters("processing", {letter.id}) == {letter.id}


@pytest.mark.rabbitmq
@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
class TestLostConnection:
    async def test_everything_goes_on_over_a_new_connection(self, broker_url: str, connected: Connect) -> None:
        """A publisher, a consumer and a reader of the log outlive a connection; the log has no gap and no repeat."""
        address = urlsplit(broker_url)
        async with proxy(address.hostname or "", address.port or 5672) as network:
            broker = await connected(broker_url.replace(f":{address.port}", f":{network.port}"))
            async with broker.deliveries("processing", prefetch=1) as deliveries, broker.log.tail(START) as entries:
                first, second, third = an_event(), an_event(), an_event()
                await broker.publish([first, second])
                (held,) = await take(deliveries, 1)
                assert [entry.event for entry in await read(entries, 2)] == [first, second]
                network.cut()
                with suppress(BrokerUnavailable):  # or the loss has not been noticed yet: then it is lost with it
                    await held.ack()
                await self.publish_until_confirmed(broker, third)
                received = {delivery.event.id for delivery in await self.take_acking(deliveries, 3)}
                assert received == {first.id, second.id, third.id}
                (entry,) = await read(entries, 1)
                assert entry.event == third

    async def test_a_publish_under_way_is_refused(self, broker_url: str, connected: Connect) -> None:
        """What was not confirmed when the connection went is `BrokerUnavailable`, never a silent loss."""
        address = urlsplit(broker_url)
        async with proxy(address.hostname or "", address.port or 5672) as network:
            broker = await connected(broker_url.replace(f":{address.port}", f":{network.port}"))
            confirmed: list[str] = []

            async def publish() -> None:
                event = an_event()
                await broker.publish([event])
                confirmed.append(event.id)

            publishing = [asyncio.create_task(publish()) for _ in range(500)]
            await eventually(lambda: confirmed)
            network.cut()
            outcomes = await asyncio.gather(*publishing, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {type(None), BrokerUnavailable}
            async with broker.log.tail(START) as entries:
                logged: set[str] = set()
                while not logged >= set(confirmed):
                    logged |= {entry.event.id for entry in await read(entries, 1)}

    async def publish_until_confirmed(self, broker: Broker, event: Event) -> None:
        async def published() -> bool:
            try:
                await broker.publish([event])
            except BrokerUnavailable:
                return False
            return True

        await eventually(published)

    async def take_acking(self, deliveries: AsyncIterator[Delivery], count: int) -> list[Delivery]:
        taken = []
        for _ in range(count):
            taken += await take(deliveries, 1)
            await taken[-1].ack()
        return taken


async def test_file_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    """An embedded broker's file of before waits were noted gets what it lacks, and delivers what waits in it.

    It had the names of attributes with AMQP's prefix, which a value may hold, too.
    """
    file = tmp_path / "broker.sqlite"
    event = replace(an_event(), extensions={"userid": 'a "cloudEvents:userid"'})
    first = await connect(f"embedded:{file}", TOPOLOGY)
    await first.publish([event])
    async with first.deliveries("processing") as deliveries:
        (delivery,) = await take(deliveries, 1)
        await delivery.retry(0.2, "soon")
    await first.close()
    with closing(sqlite3.connect(file)) as older:
        older.execute("DROP INDEX waiting")
        older.execute("ALTER TABLE queued DROP COLUMN waiting_since")
        prefixed = json.dumps(cloudevents.headers(event))
        for table in ("log", "queued"):
            older.execute(f"UPDATE {table} SET attributes = ?", (prefixed,))  # noqa: S608 - our own names
        older.execute("PRAGMA user_version = 0")
        older.commit()
    second = await connect(f"embedded:{file}", TOPOLOGY)
    try:
        async with second.deliveries("processing") as deliveries:
            (again,) = await take(deliveries, 1)
            assert (again.event, again.attempt) == (event, 2)
            await again.retry(0.1, "once more")
            (last,) = await take(deliveries, 1)
            assert last.attempt == 3
        async with second.log.tail(START) as entries:
            assert (await anext(entries)).event == event
    finally:
        await second.close()
