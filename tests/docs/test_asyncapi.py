"""The AsyncAPI document: whole, by the specification, true of what the shop sends, and checked for breaking changes."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from google.protobuf.json_format import MessageToJson
from playwright.async_api import Browser, expect

from chassis.broker.event_log import LogEntry, Position
from chassis.errors import ShopError
from protos.asyncapi.document import document
from protos.asyncapi.payloads import event_messages
from protos.shop.events.v1 import events_pb2
from services.notifier import frames
from services.notifier.transports import protocol
from services.orders.events import MESSAGES
from tests.gateway.conftest import StartShop, exported, spans, start_shop  # noqa: F401  # fixtures
from tests.node_modules import installed
from tests.notifier.conftest import an_event
from tests.pages.browser import browser_page
from tools import asyncapi_check
from tools.asyncapi_changes import breaking_changes

ROOT = Path(__file__).parents[2]
DOCUMENT = document()
TOPOLOGY = tomllib.loads((ROOT / "protos/shop/events/v1/topology.toml").read_text())


def references(node: Any) -> Iterator[str]:
    """Every `$ref` in a part of the document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def validator(schema: Any) -> jsonschema.Draft7Validator:
    """Checks values of a schema of the document, references included."""
    return jsonschema.Draft7Validator({**schema, "components": DOCUMENT["components"]})


def test_the_file_is_what_the_contracts_say() -> None:
    """The committed document is up to date, and breaks no reader of the one before."""
    assert json.loads((ROOT / "docs/asyncapi.json").read_text()) == DOCUMENT
    assert asyncapi_check.main([]) == 0


def test_it_is_whole() -> None:
    """Every reference leads somewhere, and an operation's messages are its own channel's, as AsyncAPI 3 has it."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    for reference in references(DOCUMENT):
        assert resolved(reference) is not None
    for name, operation in DOCUMENT["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"]), name
    for channel in DOCUMENT["channels"].values():
        assert all(server["$ref"].startswith("#/servers/") for server in channel.get("servers", ()))
        assert all(message["$ref"].startswith("#/components/messages/") for message in channel["messages"].values())
        named = {part.partition("}")[0] for part in channel["address"].split("{")[1:]}
        assert named == channel.get("parameters", {}).keys()


def test_schemas_and_examples() -> None:
    """Every schema is one of draft 7, and every example is valid by its message's."""
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    for message in DOCUMENT["components"]["messages"].values():
        jsonschema.Draft7Validator.check_schema(message["payload"])
        for example in message.get("examples", ()):
            validator(message["payload"]).validate(example["payload"])


def test_every_event_and_queue_is_in_it() -> None:
    """The events are those of the code, and each queue gets what the topology binds it to."""
    assert MESSAGES.keys() <= event_messages().keys()
    queues = {*TOPOLOGY["queues"], TOPOLOGY["log"]}
    assert queues | event_messages().keys() <= DOCUMENT["channels"].keys()
    for queue, patterns in TOPOLOGY["queues"].items():
        types = {DOCUMENT["components"]["messages"][name]["name"] for name in DOCUMENT["channels"][queue]["messages"]}
        assert types >= {pattern for pattern in patterns if "*" not in pattern}
        assert all(type_.partition(".")[0] in {pattern.partition(".")[0] for pattern in patterns} for type_ in types)


@pytest.mark.parametrize("type_", event_messages())
def test_payloads_are_what_is_sent(type_: str) -> None:
    """A message of each event, filled and empty but for its id, is valid by its schema; one of another type is not."""
    name = event_messages()[type_]
    message = getattr(events_pb2, name)()
    checked = validator(DOCUMENT["components"]["schemas"][name])
    first = message.DESCRIPTOR.fields[0].name
    setattr(message, first, "x")
    checked.validate(json.loads(MessageToJson(message, preserving_proto_field_name=True)))
    for field in message.DESCRIPTOR.fields[1:]:
        if field.is_repeated:
            one = getattr(message, field.name).add()
            for inner in one.DESCRIPTOR.fields:
                setattr(one, inner.name, "1.00" if inner.type == inner.TYPE_STRING else 1)
        elif field.message_type is not None:
            getattr(message, field.name).GetCurrentTime()
        else:
            setattr(message, field.name, "y" if field.type == field.TYPE_STRING else 1)
    found = json.loads(MessageToJson(message, preserving_proto_field_name=True))
    checked.validate(found)
    with pytest.raises(jsonschema.ValidationError):
        checked.validate({**found, first: 7})


@pytest.mark.parametrize("position", ["31", "0", "k3.0.12", "k" + ".".join(["123456789012345678"] * 100)])
def test_frames_are_what_is_sent(position: str) -> None:
    """What the notifier puts on the wire is valid by the document, whichever kind of log the positions are of."""
    notice = frames.Notice(LogEntry(Position.parse(position), an_event()))
    sent = [
        ("notification", notice.frame.payload),
        ("subscribed", frames.subscribed(("order.*",), Position.parse(position)).payload),
        ("unsubscribed", frames.unsubscribed(("order.*",)).payload),
        ("posted", frames.posted("123").payload),
        ("resync", frames.RESYNC.payload),
        ("pong", frames.pong(None).payload),
        ("pong", frames.pong(Position.at(31)).payload),
    ]
    for name, payload in sent:
        validator(DOCUMENT["components"]["messages"][name]["payload"]).validate(json.loads(payload))


def accepted(frame: dict[str, Any]) -> bool:
    """Whether the notifier takes a client's frame."""
    try:
        protocol.parse(json.dumps(frame))
    except ShopError:
        return False
    return True


FRAMES = {name: DOCUMENT["components"]["messages"][name] for name in ("subscribe", "unsubscribe", "chat", "ping")}
EXAMPLES = [message["examples"][0]["payload"] for message in FRAMES.values()]
CHAT = FRAMES["chat"]["examples"][0]["payload"]
FROM_CLIENTS = [
    *EXAMPLES,
    *({key: value for key, value in each.items() if key != left} for each in EXAMPLES for left in each),
    *(
        {**each, "topics": topics}
        for each in EXAMPLES
        if "topics" in each
        for topics in (
            [],
            [f"order.{number}" for number in range(32)],
            [f"order.{number}" for number in range(33)],
            ["order.#"],
            ["Order.*"],
            [""],
            ["a" * 33],
            [".".join("abcdefgh")],
            [".".join("abcdefghi")],
            "order.*",
        )
    ),
    {**EXAMPLES[0], "after": "of another log"},
    *({**CHAT, "room": room} for room in ("", "x" * 128, "x" * 129)),
    *(
        {**CHAT, "text": text}
        for text in ("", " \n", "x" * 2_000, "x" * 2_001, "1.\t👩‍👩‍👧\r\n2.", "\x1b[2J", "\x7f", "a\x00")
    ),
]


@pytest.mark.parametrize("frame", FROM_CLIENTS, ids=lambda frame: json.dumps(frame)[:60])
def test_frames_are_what_is_accepted(frame: dict[str, Any]) -> None:
    """A client's frame is accepted where the document says so, with any field left out or out of its bounds."""
    schema = FRAMES.get(frame.get("action", "ping"), FRAMES["ping"])["payload"]
    assert validator(schema).is_valid(frame) == accepted(frame)


@pytest.mark.parametrize("type_", event_messages())
def test_what_is_left_out_has_its_default(type_: str) -> None:
    """The document has the value of each field that an event leaves out, and of no field that it never does."""
    name = event_messages()[type_]
    message = getattr(events_pb2, name)()
    setattr(message, message.DESCRIPTOR.fields[0].name, "x")
    sent = json.loads(MessageToJson(message, preserving_proto_field_name=True))
    meant = json.loads(
        MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )
    fields = shape(DOCUMENT, name)
    defaults = {field: fields[field]["default"] for field in fields if "default" in fields[field]}
    assert {**defaults, **sent} == meant
    assert not defaults.keys() & set(DOCUMENT["components"]["schemas"][name]["required"])


Change = Callable[[dict[str, Any]], Any]


def shape(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The properties of a payload."""
    found: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return found


BREAKING: dict[str, Change] = {
    "a channel is gone": lambda new: new["channels"].pop("order.paid"),
    "an address": lambda new: new["channels"]["notifications"].update(address="/news"),
    "a message is gone": lambda new: new["channels"]["order-mail"]["messages"].popitem(),
    "a field is gone": lambda new: shape(new, "OrderPaid").pop("payment_id"),
    "a field's type": lambda new: shape(new, "OrderLine")["quantity"].update(type="string"),
    "an id is not sure": lambda new: new["components"]["schemas"]["OrderPaid"].update(required=[]),
    "clients must send more": lambda new: new["components"]["messages"]["chat"]["payload"]["required"].append("reason"),
    "the other way": lambda new: new["operations"]["receiveWebhook"].update(action="send"),
}
HARMLESS: dict[str, Change] = {
    "a field is new": lambda new: shape(new, "OrderPaid").update(more={"type": "string"}),
    "a comment": lambda new: new["components"]["schemas"]["OrderPaid"].update(description="Another one."),
    "a channel is new": lambda new: new["channels"].update(more={"address": "more", "messages": {}}),
    "readers are sure of more": lambda new: new["components"]["schemas"]["OrderPaid"]["required"].append("user_id"),
}


@pytest.mark.parametrize("what", BREAKING)
def test_a_breaking_change_is_found(what: str) -> None:
    """What takes something from a reader, or requires more of a sender, is named."""
    new = copy.deepcopy(DOCUMENT)
    BREAKING[what](new)
    assert breaking_changes(DOCUMENT, new)


@pytest.mark.parametrize("what", HARMLESS)
def test_a_harmless_change_is_none(what: str) -> None:
    """What only adds breaks no reader."""
    new = copy.deepcopy(DOCUMENT)
    HARMLESS[what](new)
    assert breaking_changes(DOCUMENT, new) == []


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_it_is_shown_offline(chromium: Browser, start_shop: StartShop) -> None:  # noqa: F811
    """The gateway's page draws the document in a browser, with nothing from elsewhere."""
    async with start_shop() as shop, browser_page(chromium) as page:
        await page.goto(f"{shop.client.base_url}/asyncapi")
        await expect(page.locator("asyncapi-viewer")).to_contain_text("Polyglot Shop: events, WebSockets and webhooks")
        await expect(page.locator("asyncapi-viewer")).to_contain_text("order.refund_due")


async def test_not_in_production(start_shop: StartShop) -> None:  # noqa: F811
    """In production neither the page nor the document is shown."""
    async with start_shop(env="production", demo_data=False, capture=False) as shop:
        for path in ("/asyncapi", "/asyncapi.json"):
            assert (await shop.client.get(path)).status_code == 404


@pytest.fixture(scope="module")
def asyncapi_tools() -> Path:
    """AsyncAPI's own schema and parser."""
    return installed(Path(__file__).parent / "node")


async def found_by_the_parser(tools: Path, content: object) -> list[dict[str, Any]]:
    """What AsyncAPI's parser has to say of a document; severity 0 is an error, 1 a warning."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(Path(__file__).parent / "node/parse.js")),
        env={**os.environ, "NODE_PATH": str(tools / "node_modules")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(json.dumps(content).encode()), 100)
    assert process.returncode == 0, errors.decode()
    found: list[dict[str, Any]] = json.loads(output)
    return found


@pytest.mark.npm
def test_official_schema_accepts_it(asyncapi_tools: Path) -> None:
    """AsyncAPI's JSON schema (`@asyncapi/specs`) refuses nothing in docs/asyncapi.json, and a broken operation."""
    version = DOCUMENT["asyncapi"]
    path = asyncapi_tools / f"node_modules/@asyncapi/specs/schemas/{version}.json"
    schema = json.loads(path.read_text("utf-8"))
    judge = jsonschema.validators.validator_for(schema)(schema)
    committed = json.loads((ROOT / "docs/asyncapi.json").read_text("utf-8"))
    assert [error.message for error in judge.iter_errors(committed)] == []
    without = {**committed, "operations": {"broken": {"action": "shout", "channel": {"$ref": "#/channels/none"}}}}
    assert list(judge.iter_errors(without))


@pytest.mark.npm
async def test_official_parser_accepts_it(asyncapi_tools: Path) -> None:
    """AsyncAPI's parser resolves every reference, and has neither an error nor a warning; a missing channel is one."""
    committed = json.loads((ROOT / "docs/asyncapi.json").read_text("utf-8"))
    assert [each for each in await found_by_the_parser(asyncapi_tools, committed) if each["severity"] < 2] == []
    broken = copy.deepcopy(committed)
    broken["channels"].pop(next(iter(broken["channels"])))
    assert any(each["severity"] == 0 for each in await found_by_the_parser(asyncapi_tools, broken))
