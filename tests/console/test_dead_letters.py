"""`shop dead-letters`, on the embedded broker's file."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from console.play.events import EventCalls
from tests.console.test_journey import command

QUEUE = "order-fulfilment"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """The broker in a data directory."""
    opened = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology.load(TOPOLOGY))
    yield opened
    await opened.close()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"SHOP_DATA_DIR": str(tmp_path)}


async def bury(broker: Broker, data: bytes = b'{"order_id": "o-1"}') -> str:
    """Let an event die in the queue; returns its id."""
    event = Event(uuid.uuid4().hex, "order.paid", "/orders", "o-1", datetime.now(UTC), data, {"sequence": "3"})
    await broker.publish([event])
    async with broker.deliveries(QUEUE) as deliveries:
        delivery = await anext(deliveries)
        await delivery.dead_letter("ErpError: no shipment today")
    return event.id


async def test_a_dead_letter_is_listed_and_shown(broker: Broker, env: dict[str, str]) -> None:
    """`list` prints queue, event and reason; `show` the whole event, whatever its data is."""
    first, second = await bury(broker), await bury(broker, b"not json")
    code, out, _ = await command(env, "dead-letters", "list")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith(first))
    assert line.endswith(f"{QUEUE}: order.paid of o-1")
    assert "attempts: 1; ErpError: no shipment today" in out
    code, out, _ = await command(env, "dead-letters", "list", "--json", "--queue", QUEUE)
    assert [item["id"] for item in json.loads(out)["items"]] == [first, second]
    code, out, _ = await command(env, "dead-letters", "show", first)
    assert code == 0
    event = json.loads(out)["event"]
    assert (event["data"], event["sequence"]) == ({"order_id": "o-1"}, "3")
    code, out, _ = await command(env, "dead-letters", "show", second)
    assert json.loads(out)["event"]["data"] == "not json"


async def test_an_event_that_is_no_json_is_shown_and_those_after_it(broker: Broker, env: dict[str, str]) -> None:
    """`shop events replay` shows its text, and goes on, after `shop fault poison`, too."""
    await bury(broker, b'{"poison": tru')
    await bury(broker)
    for options in ((), ("--json",)):
        code, out, error = await command(env, "events", "replay", *options)
        assert (code, error) == (0, "")
        first, second = out.splitlines()
        assert "poison" in first
        assert "order_id" in second
    assert json.loads(first)["data"] == '{"poison": tru'


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"poison": tru', '{"poison": tru'),
        (b'{"number": 123456789012345678901234567890}', {"number": 123456789012345678901234567890}),
        (b'"\\ud800"', "\ud800"),
    ],
    ids=["no JSON", "a number beyond 64 bits", "half a character"],
)
async def test_an_event_is_published_again_and_shown_whatever_it_holds(
    broker: Broker, tmp_path: Path, data: bytes, shown: object
) -> None:
    """The console's page publishes the newest of a type as it is, and shows what it holds."""
    await bury(broker, data)
    answer = await EventCalls(f"embedded:{tmp_path / 'broker.sqlite'}", "", Telemetry("test")).publish_again(
        "order.paid"
    )
    assert json.loads(answer.body)["data"] == shown


async def test_all_dead_letters_of_a_queue_are_replayed(broker: Broker, env: dict[str, str]) -> None:
    """`replay --queue Q --all` puts back each one; without a queue, or with an id as well, it is refused."""
    identifiers = {await bury(broker) for _ in range(3)}
    for arguments in (("--all",), ("--all", "--queue", QUEUE, next(iter(identifiers))), ()):
        code, _, error = await command(env, "dead-letters", "replay", *arguments)
        assert (code, "--queue QUEUE --all" in error) == (2, True), arguments
    code, out, _ = await command(env, "dead-letters", "replay", "--queue", QUEUE, "--all")
    assert (code, out) == (0, f"3 dead letters are back in {QUEUE}\n")
    assert await broker.dead_letters(QUEUE) == []
    async with broker.deliveries(QUEUE) as deliveries:
        assert {(await anext(deliveries)).event.id for _ in range(3)} == identifiers
    assert (await command(env, "dead-letters", "replay", "--queue", QUEUE, "--all"))[1].startswith("0 dead letters")


async def test_a_replayed_dead_letter_is_delivered_again(broker: Broker, env: dict[str, str]) -> None:
    """`replay` puts the event back into its queue as a first attempt."""
    identifier = await bury(broker)
    code, out, _ = await command(env, "dead-letters", "replay", identifier)
    assert (code, out) == (0, f"{identifier} is back in {QUEUE}\n")
    async with broker.deliveries(QUEUE) as deliveries:
        delivery = await anext(deliveries)
        assert (delivery.event.id, delivery.attempt) == (identifier, 1)
        await delivery.ack()
    assert await broker.dead_letters(QUEUE) == []


async def test_a_dropped_dead_letter_is_gone(broker: Broker, env: dict[str, str]) -> None:
    """`drop` forgets the event; a second time there is none, and the exit code is 1."""
    identifier = await bury(broker)
    assert (await command(env, "dead-letters", "drop", identifier))[0] == 0
    assert await broker.dead_letters(QUEUE) == []
    code, _, err = await command(env, "dead-letters", "drop", identifier)
    assert code == 1
    assert identifier in err


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """Where no shop has been, and for a queue that is not, the answer is a reason and exit code 2; nothing is made."""
    nowhere = tmp_path / "nowhere"
    code, _, err = await command({"SHOP_DATA_DIR": str(nowhere)}, "dead-letters", "list")
    assert code == 2
    assert str(nowhere) in err
    assert not nowhere.exists()
