"""`shop dead-letters`, on the embedded broker's file."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from console.play.events import EventCalls
from shop.commands.messages import dead_letters
from shop.errors import Refused
from shop.fault.faults.ground import Ground
from shop.fault.faults.poison import Poison
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


async def add_dead_letter(broker: Broker, data: bytes = b'{"order_id": "o-1"}', queue: str = QUEUE) -> str:
    """Let an event die in the queue; returns its id."""
    event = Event(uuid.uuid4().hex, "order.paid", "/orders", "o-1", datetime.now(UTC), data, {"sequence": "3"})
    await broker.publish([event])
    async with broker.deliveries(queue) as deliveries:
        delivery = await anext(deliveries)
        await delivery.dead_letter("ErpError: no shipment today")
    return event.id


async def test_a_dead_letter_is_listed_and_shown(broker: Broker, env: dict[str, str]) -> None:
    """`list` prints queue, event and reason; `show` the whole event, whatever its data is."""
    first, second = await add_dead_letter(broker), await add_dead_letter(broker, b"not json")
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
    await add_dead_letter(broker, b'{"poison": tru')
    await add_dead_letter(broker)
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
    ids=["no JSON", "a number beyond 64 bits", "a lone surrogate"],
)
async def test_an_event_is_published_again_and_shown_whatever_it_holds(
    broker: Broker, tmp_path: Path, data: bytes, shown: object
) -> None:
    """The console's page publishes the newest of a type as it is, and shows what it holds."""
    await add_dead_letter(broker, data)
    answer = await EventCalls(f"embedded:{tmp_path / 'broker.sqlite'}", "", Telemetry("test")).publish_again(
        "order.paid"
    )
    assert json.loads(answer.body)["data"] == shown


async def test_a_list_that_is_cut_off_says_so(broker: Broker, env: dict[str, str]) -> None:
    """The bound is each queue's, so that one with many hides no other one's; the queue that has more is named."""
    first, _ = await add_dead_letter(broker), await add_dead_letter(broker)
    await add_dead_letter(broker, queue="order-invoice")
    code, out, _ = await command(env, "dead-letters", "list", "--limit", "1")
    assert (code, first in out, "order-invoice: order.paid of o-1" in out) == (0, True, True)
    assert f"there are more in {QUEUE}: --queue QUEUE, --limit N" in out.splitlines()
    for limit, more in (("1", True), ("2", False)):
        code, out, _ = await command(env, "dead-letters", "list", "--json", "--limit", limit)
        assert (code, json.loads(out)["more"]) == (0, more)


@pytest.mark.parametrize(("words", "wanted"), [("show", -1), ("replay", None), ("drop", None)])
async def test_a_search_that_ends_at_its_bound_names_it(
    words: str, wanted: int | None, broker: Broker, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal says in which queue older ones were in the way."""
    monkeypatch.setattr(dead_letters, "MAX_SEARCHED", 2)
    identifiers = [await add_dead_letter(broker) for _ in range(3)]
    monkeypatch.setenv("SHOP_DATA_DIR", env["SHOP_DATA_DIR"])
    identifier = "another" if wanted is None else identifiers[wanted]
    refused = await asyncio.to_thread(CliRunner().invoke, dead_letters.app, [words, identifier])
    assert refused.exit_code == 1
    assert f"no dead letter has the id {identifier} among the 2 oldest of {QUEUE}: replay or drop" in refused.output
    assert [letter.id for letter in await broker.dead_letters(QUEUE)] == identifiers


async def test_what_is_beyond_one_reading_is_replayed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """`replay --all` reads on; what dies while it is at work stays."""
    monkeypatch.setattr(dead_letters, "MAX_SEARCHED", 2)
    for _ in range(5):
        await add_dead_letter(broker)
    late = ""
    replay = broker.replay_dead_letter

    async def once_more(queue: str, event_id: str) -> bool:
        nonlocal late
        late = late or await add_dead_letter(broker)
        return await replay(queue, event_id)

    monkeypatch.setattr(broker, "replay_dead_letter", once_more)
    assert await dead_letters._replay_all(broker, QUEUE) == 5
    assert [letter.id for letter in await broker.dead_letters(QUEUE)] == [late]


class NoLinks:
    """A stub: of a shop without links."""

    def there(self) -> bool:
        return False


async def test_poison_is_dropped_however_many_letters_are_older(
    broker: Broker, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No listing's bound keeps it from being found."""
    older = await add_dead_letter(broker)
    poison = Poison(Ground({}, Path(env["SHOP_DATA_DIR"]), cast("Any", NoLinks())), [QUEUE])
    await asyncio.to_thread(poison.begin)
    async with broker.deliveries(QUEUE) as deliveries:
        for _ in range(3):
            await (await anext(deliveries)).dead_letter("no JSON")
    listed: Any = type(broker).dead_letters
    monkeypatch.setattr(type(broker), "dead_letters", lambda self, queue, limit: listed(self, queue, limit=limit and 1))
    monkeypatch.setattr("shop.fault.faults.poison._DEAD_WITHIN", 3.0)
    said = await asyncio.to_thread(poison.end)
    monkeypatch.undo()
    assert said == f"3 of 3 became dead letters of {QUEUE}; 3 dropped in all queues"
    assert [letter.id for letter in await broker.dead_letters(QUEUE)] == [older]


async def test_poison_that_could_not_be_found_is_refused(
    broker: Broker, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is published: behind so many dead letters it would stay in the queue."""
    older = await add_dead_letter(broker)
    monkeypatch.setattr("shop.fault.faults.poison.MAX_SEARCHED", 3)
    poison = Poison(Ground({}, Path(env["SHOP_DATA_DIR"]), cast("Any", NoLinks())), [QUEUE])
    with pytest.raises(Refused, match=f"behind 3 dead letters of {QUEUE}"):
        await asyncio.to_thread(poison.begin)
    assert await broker.queued(QUEUE) == []
    assert [letter.id for letter in await broker.dead_letters(QUEUE)] == [older]


async def test_all_dead_letters_of_a_queue_are_replayed(broker: Broker, env: dict[str, str]) -> None:
    """`replay --queue Q --all` puts back each one; without a queue, or with an id as well, it is refused."""
    identifiers = {await add_dead_letter(broker) for _ in range(3)}
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
    identifier = await add_dead_letter(broker)
    code, out, _ = await command(env, "dead-letters", "replay", identifier)
    assert (code, out) == (0, f"{identifier} is back in {QUEUE}\n")
    async with broker.deliveries(QUEUE) as deliveries:
        delivery = await anext(deliveries)
        assert (delivery.event.id, delivery.attempt) == (identifier, 1)
        await delivery.ack()
    assert await broker.dead_letters(QUEUE) == []


async def test_a_dropped_dead_letter_is_gone(broker: Broker, env: dict[str, str]) -> None:
    """`drop` forgets the event; a second time there is none, and the exit code is 1."""
    identifier = await add_dead_letter(broker)
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
