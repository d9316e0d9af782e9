"""What Kafka's readers beside us see of the log, and what happens while a broker is away or the topic grows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chassis.broker import connect
from chassis.broker.event_log import START, LogReader, Position
from chassis.broker.kafka import address as addresses
from chassis.broker.kafka import reader
from chassis.broker.kafka import topic as topics
from chassis.broker.kafka.adapter import KafkaLog
from chassis.broker.kafka.address import Address
from chassis.broker.port import BrokerUnavailable, Event
from chassis.broker.retention import Retention
from chassis.observability.tracing import Telemetry
from tests import kafka
from tests.contract.events import TOPOLOGY, an_event
from tests.contract.proxy import proxy
from tests.shop import free_ports
from tests.waiting import eventually

pytestmark = pytest.mark.kafka
# kcat's librdkafka gets no answer from Tansu that it understands.
FOR_KCAT = [kind for kind in kafka.KINDS if kind != "tansu"]


@pytest.fixture(params=kafka.KINDS)
async def topic(request: pytest.FixtureRequest) -> AsyncIterator[kafka.OwnTopic]:
    async with kafka.own_topic(request.param) as found:
        yield found


async def opened(url: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(url, Retention())
    yield log
    await log.close()


@pytest.fixture
async def log(topic: kafka.OwnTopic) -> AsyncIterator[KafkaLog]:
    async for found in opened(topic.url):
        yield found


async def read(entries: LogReader, count: int) -> list[Event]:
    async with asyncio.timeout(30):
        return [(await anext(entries)).event for _ in range(count)]


class TestOnTheWire:
    async def test_records_are_cloudevents_in_binary_mode(self, log: KafkaLog, topic: kafka.OwnTopic) -> None:
        """The key is the aggregate, the value the data, and the headers are those of CloudEvents' Kafka binding."""
        event = an_event(subject="order-1")
        await log.append([event])
        address = Address.parse(topic.url)
        consumer = AIOKafkaConsumer(bootstrap_servers=address.servers.split(","), auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(address.topic, index) for index in range(await log.partitions())])
            record = await asyncio.wait_for(consumer.getone(), 30)
        finally:
            await consumer.stop()
        headers = {name: value.decode() for name, value in record.headers}
        assert (record.key, record.value) == (b"order-1", event.data)
        assert headers == {
            "ce_specversion": "1.0",
            "ce_id": event.id,
            "ce_source": event.source,
            "ce_type": event.type,
            "ce_subject": "order-1",
            "ce_time": event.time.isoformat().replace("+00:00", "Z"),
            "ce_traceparent": event.extensions["traceparent"],
            "content-type": "application/json",
            "traceparent": event.extensions["traceparent"],
        }

    @pytest.mark.kcat
    @pytest.mark.parametrize("topic", FOR_KCAT, indirect=True)
    async def test_kcat_reads_them(self, log: KafkaLog, topic: kafka.OwnTopic) -> None:
        """A client that shares nothing with us, kcat, reads each event with its key and its headers."""
        events = [an_event(subject=f"order-{number}") for number in range(20)]
        await log.append(events)
        address = Address.parse(topic.url)
        kcat = await asyncio.create_subprocess_exec(
            "kcat", "-C", "-J", "-q", "-e", "-o", "beginning", "-b", address.servers, "-t", address.topic,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(kcat.communicate(), 60)
        finally:
            if kcat.returncode is None:
                kcat.kill()
                await kcat.wait()
        assert kcat.returncode == 0, err.decode()
        found = {}
        for line in out.splitlines():
            message = json.loads(line)
            headers = dict(zip(message["headers"][::2], message["headers"][1::2], strict=True))
            found[headers["ce_id"]] = (message["key"], message["payload"], headers["traceparent"])
        assert found == {
            event.id: (event.subject, event.data.decode(), event.extensions["traceparent"]) for event in events
        }

    async def test_a_record_that_is_no_event_is_passed_over(self, log: KafkaLog, topic: kafka.OwnTopic) -> None:
        """What others have put into the topic neither stops a reader nor what reads up to the log's end."""
        await log.append([first := an_event(subject="one")])
        address = Address.parse(topic.url)
        producer = AIOKafkaProducer(bootstrap_servers=address.servers.split(","))
        await producer.start()
        try:
            for value, headers in ((b"hello", []), (b"{}", [("ce_id", b"\xff")]), (None, [])):
                await producer.send_and_wait(address.topic, value, key=b"one", headers=headers)
        finally:
            await producer.stop()
        async with asyncio.timeout(30), log.tail(START, upto=await log.last_position()) as entries:
            assert [entry.event async for entry in entries] == [first]
        await log.append([second := an_event(subject="one")])
        async with log.tail(START) as entries:
            assert await read(entries, 2) == [first, second]


async def test_an_append_has_a_span_that_its_reader_goes_on_from(topic: kafka.OwnTopic) -> None:
    """Each event of a trace is appended in a producer's span, which the record names; others begin no trace."""
    exported = InMemorySpanExporter()
    log = KafkaLog(topic.url, Retention(), Telemetry("orders", exported))
    traced, untraced = an_event(subject="one"), replace(an_event(subject="one"), extensions={})
    unsampled = replace(traced, id="unsampled", extensions={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    try:
        await log.append([traced, untraced, unsampled])
        async with log.tail(START) as entries:
            found = await read(entries, 3)
    finally:
        await log.close()
    (span,) = exported.get_finished_spans()
    _, trace_id, parent_id, _ = traced.extensions["traceparent"].split("-")
    assert (span.name, span.kind) == (f"append {traced.type}", SpanKind.PRODUCER)
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (trace_id, parent_id)
    facts = dict(span.attributes or {})
    assert facts["messaging.system"] == "kafka"
    assert facts["messaging.destination.name"] == Address.parse(topic.url).topic
    assert facts["messaging.kafka.message.key"] == "one"
    assert 0 <= int(str(facts["messaging.destination.partition.id"])) < kafka.PARTITIONS
    assert facts["messaging.kafka.offset"] == 0
    named = {**traced.extensions, "traceparent": f"00-{trace_id}-{span.context.span_id:016x}-01"}
    assert found == [replace(traced, extensions=named), untraced, unsampled]


async def test_an_append_that_fails_is_a_failed_span() -> None:
    """A topic that cannot be reached is an error of the span, too."""
    exported = InMemorySpanExporter()
    (port,) = free_ports(1)
    log = KafkaLog(f"kafka://127.0.0.1:{port}/shop.events", Retention(), Telemetry("orders", exported))
    try:
        with pytest.raises(BrokerUnavailable):
            await log.append([an_event()])
    finally:
        await log.close()
    (span,) = exported.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("topic", [kind for kind in kafka.KINDS if kind != "mock"], indirect=True)
async def test_partitions_are_added(topic: kafka.OwnTopic, log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is there takes a new partition from its beginning; a position of before goes on with all of it."""
    known = 3
    real = topics.Topic._count

    async def fewer(self: topics.Topic, admin: object) -> int:
        return min(known, await real(self, admin))

    # Stub: the number that a broker returns, since Tansu cannot change it.
    monkeypatch.setattr(topics.Topic, "_count", fewer)
    events = [an_event(subject=f"s{number}") for number in range(60)]
    await log.append(events)
    seen: list[str] = []
    async with log.tail(START) as entries:
        position = START

        async def follow() -> None:
            nonlocal position
            async for entry in entries:
                seen.append(entry.event.id)
                position = entry.position

        following = asyncio.create_task(follow())
        before = await log.last_position()
        assert len(before.offsets) == 3
        await eventually(lambda: position.includes(before), within=30)
        of_before = position
        assert 0 < len(seen) < 60
        known = kafka.PARTITIONS
        await eventually(lambda: len(seen) == 60, within=30)
        following.cancel()
        await asyncio.wait([following])
    assert sorted(seen) == sorted(event.id for event in events)
    first = sum(of_before.offsets)
    async with log.tail(Position.parse(str(of_before))) as entries:
        rest = [event.id for event in await read(entries, 60 - first)]
    assert sorted(seen[:first] + rest) == sorted(seen)


async def test_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While no broker is reached, appending raises "not now" and a reader logs why; then both go on from there."""
    monkeypatch.setattr(addresses, "REQUEST_TIMEOUT_MS", 1_000)
    monkeypatch.setattr(reader, "LATE_MS", 1_000)
    (port,) = free_ports(1)
    async with proxy("127.0.0.1", port) as network, kafka.tansu(port, advertised=network.port):
        log = KafkaLog(f"kafka://127.0.0.1:{network.port}/shop.events?idempotence=off", Retention())
        first, second = an_event(subject="one"), an_event(subject="one")
        await log.append([first])
        try:
            async with log.tail(START) as entries:
                assert await read(entries, 1) == [first]
                reading = asyncio.create_task(read(entries, 1))
                network.refusing = True
                network.cut()
                with pytest.raises(BrokerUnavailable):
                    await log.append([second])
                await eventually(lambda: entries.trouble, within=30)
                assert not await log.healthy()
                network.refusing = False

                async def appended() -> bool:
                    with suppress(BrokerUnavailable):
                        await log.append([second])
                        return True
                    return False

                await eventually(appended, within=60)
                assert await reading == [second]
                assert not entries.trouble
            assert await log.healthy()
        finally:
            await log.close()


@pytest.mark.parametrize("kind", ["tansu"])
async def test_a_cancellation_while_a_reading_is_closed_is_not_lost(kind: str) -> None:
    """Whenever it comes: the library takes cancellations for itself while it closes a consumer."""
    async with kafka.own_topic(kind) as topic:
        log = KafkaLog(topic.url, Retention())
        await log.append([an_event(subject="one")])

        async def read_and_go_on(leaving: asyncio.Event) -> None:
            async with log.read_partitions(dict.fromkeys(range(kafka.PARTITIONS), 0)) as entries:
                await anext(entries)
                leaving.set()
            await asyncio.Event().wait()

        for turns in range(12):
            leaving = asyncio.Event()
            task = asyncio.create_task(read_and_go_on(leaving))
            await leaving.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=10)
            assert task.cancelled(), f"lost after {turns} turns of the event loop"
        await log.close()


@pytest.mark.parametrize("kind", ["tansu"])
async def test_a_consumer_that_has_ended_its_fetching_is_replaced(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's fetching ends for good by an answer that it does not understand; the reader goes on."""
    monkeypatch.setattr(reader, "LATE_MS", 500)
    monkeypatch.setattr(reader, "REOPEN_SECONDS", 0.5)
    fetch, broken = Fetcher._proc_fetch_request, asyncio.Event()

    async def failing(self: Fetcher, *arguments: object) -> object:
        if broken.is_set():
            broken.clear()
            raise LookupError("no such partition")
        return await fetch(self, *arguments)

    monkeypatch.setattr(Fetcher, "_proc_fetch_request", failing)
    async with kafka.own_topic(kind) as topic:
        log = KafkaLog(topic.url, Retention())
        first, second, third = (an_event(subject=name) for name in ("one", "two", "three"))
        await log.append([first])
        async with log.read_partitions(dict.fromkeys(range(kafka.PARTITIONS), 0)) as entries, log.tail(START) as all_of:
            assert await read(entries, 1) == await read(all_of, 1) == [first]
            for each, event in ((entries, second), (all_of, third)):
                broken.set()
                await eventually(lambda: not broken.is_set())
                await log.append([event])
                reading = asyncio.create_task(read(each, 1))
                await asyncio.wait({reading}, timeout=20)
                other = all_of if each is entries else entries
                assert await reading == await read(other, 1) == [event]
        await log.close()


async def test_a_process_starts_without_its_log(tmp_path: Path) -> None:
    """A log that cannot be reached keeps nothing from starting: it counts as away until it is there."""
    (port,) = free_ports(1)
    url = f"kafka://127.0.0.1:{port}/shop.events?idempotence=off"
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", TOPOLOGY, log_url=url)
    event = an_event("order.placed")
    try:
        assert not await broker.healthy()
        for ask in (broker.publish([event]), broker.log.last_position(), broker.log.partitions()):
            with pytest.raises(BrokerUnavailable):
                await ask
        async with kafka.tansu(port):
            await eventually(broker.healthy, within=30)
            await broker.publish([event])
            async with broker.log.tail(START) as entries:
                assert await read(entries, 1) == [event]
    finally:
        await broker.close()


async def test_queues_and_log_apart(tmp_path: Path) -> None:
    """With a log elsewhere the work queues have what is published, and the broker's own log has nothing of it."""
    url = f"embedded:{tmp_path / 'broker.sqlite'}"
    async with kafka.own_topic("tansu") as topic:
        broker = await connect(url, TOPOLOGY, log_url=topic.url)
        events = [an_event("order.placed", subject="one"), an_event("chat.posted", subject="one")]
        try:
            await broker.publish(events)
            assert broker.log.system == "kafka"
            async with broker.log.tail(START) as entries:
                assert await read(entries, 2) == events
            async with broker.deliveries("everything") as deliveries, asyncio.timeout(20):
                assert [(await anext(deliveries)).event for _ in events] == events
        finally:
            await broker.close()
        own = await connect(url, TOPOLOGY)
        try:
            async with own.log.tail(START, upto=await own.log.last_position()) as entries:
                assert [entry async for entry in entries] == []
        finally:
            await own.close()


class TestAddress:
    def test_all_that_a_url_can_say(self) -> None:
        """Brokers, topic, credentials and options come out as they went in, and as the library gets them."""
        options = "partitions=6&replicas=1&mechanism=PLAIN"
        found = Address.parse(f"kafka://shop:p%40ss@one:9092,two:9093/shop.events?{options}")
        assert (found.servers, found.topic) == ("one:9092,two:9093", "shop.events")
        assert (found.partitions, found.replicas, found.idempotent) == (6, 1, True)
        told = found.client()
        assert told["bootstrap_servers"] == ["one:9092", "two:9093"]
        assert (told["sasl_plain_username"], told["sasl_plain_password"]) == ("shop", "p@ss")
        assert (told["sasl_mechanism"], told["security_protocol"]) == ("PLAIN", "SASL_PLAINTEXT")
        assert Address.parse("kafkas://one:9093/t").client()["security_protocol"] == "SSL"
        assert Address.parse("kafka://one:9092/t").client()["security_protocol"] == "PLAINTEXT"
        assert Address.parse("kafka://one:9092/t").partitions == kafka.PARTITIONS

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("amqp://one:5672/t", "unsupported event log URL scheme 'amqp'"),
            ("kafka://one:9092/", "must name brokers and a topic"),
            ("kafka:///t", "must name brokers and a topic"),
            ("kafka://one:9092/a/b", "must name brokers and a topic"),
            ("kafka://one:9092/t?partitions=0", "partitions=0"),
            ("kafka://one:9092/t?partitions=x", "partitions=x"),
            ("kafka://one:9092/t?idempotence=maybe", "must be one of off, on"),
            ("kafka://one:9092/t?retries=3", "unknown options: retries"),
            ("kafka://u:secret@one:9092/t?topology=guess", "topology=guess"),
        ],
    )
    def test_what_means_nothing_is_refused(self, url: str, reason: str) -> None:
        """A URL that cannot be meant is an error that says why, and shows no password."""
        with pytest.raises(ValueError, match=reason) as refused:
            Address.parse(url)
        assert "secret" not in str(refused.value)
