"""Breaking changes between two AsyncAPI documents. Pure functions.

What others read must go on being there, and what they send must go on being accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_MAX_DEPTH = 8


def breaking_changes(old: Json, new: Json) -> list[str]:
    """Changes that break readers of the old document, one line each."""
    return sorted(set(_document(old, new)))


def _document(old: Json, new: Json) -> Iterator[str]:
    yield from _channels(old, new)
    for name, operation in old["operations"].items():
        if new["operations"].get(name, {}).get("action") != operation["action"]:
            yield f"operation {name}: is gone or goes the other way"
    yield from _messages(old, new)


def _channels(old: Json, new: Json) -> Iterator[str]:
    for name, channel in old["channels"].items():
        found = new["channels"].get(name)
        if found is None:
            yield f"channel {name}: is gone"
            continue
        if found["address"] != channel["address"]:
            yield f"channel {name}: is at {found['address']} now"
        for message in channel.get("messages", {}):
            if message not in found.get("messages", {}):
                yield f"channel {name}: {message} does not come there any more"


def _messages(old: Json, new: Json) -> Iterator[str]:
    sent = _sent_by_others(old)
    for name, message in old["components"]["messages"].items():
        now = new["components"]["messages"].get(name)
        if now is None:
            yield f"message {name}: is gone"
            continue
        for part in ("payload", "headers"):
            if part in message:
                yield from _schema(f"{name}.{part}", message[part], now.get(part, {}), (old, new), sent=name in sent)


def _sent_by_others(document: Json) -> set[str]:
    """Messages that clients and partners write: those of operations that receive outside the broker."""
    broker = {"#/servers/broker"}
    found = set[str]()
    for operation in document["operations"].values():
        channel = document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
        servers = {each["$ref"] for each in channel.get("servers", ())}
        if operation["action"] == "receive" and not servers <= broker:
            found |= {message["$ref"].rpartition("/")[2] for message in operation["messages"]}
    return found


def _schema(where: str, was: Json, now: Json, both: tuple[Json, Json], *, sent: bool, depth: int = 0) -> Iterator[str]:
    was, now = _resolved(was, both[0]), _resolved(now, both[1])
    if depth > _MAX_DEPTH:
        return
    for word in ("type", "const", "format", "pattern"):
        if word in was and was[word] != now.get(word):
            yield f"{where}: {word} was {was[word]} and is {now.get(word)}"
    if sent:
        for name in set(now.get("required", ())) - set(was.get("required", ())):
            yield f"{where}.{name}: must be sent now"
    else:
        for name in set(was.get("required", ())) - set(now.get("required", ())):
            yield f"{where}.{name}: is not always there any more"
    for name, value in was.get("properties", {}).items():
        found = now.get("properties", {}).get(name)
        if found is None:
            yield f"{where}.{name}: is gone"
        else:
            yield from _schema(f"{where}.{name}", value, found, both, sent=sent, depth=depth + 1)
    if "items" in was:
        yield from _schema(f"{where}[]", was["items"], now.get("items", {}), both, sent=sent, depth=depth + 1)


def _resolved(schema: Json, document: Json) -> Json:
    if "$ref" in schema:
        found: Json = document["components"]["schemas"].get(schema["$ref"].rpartition("/")[2], {})
        return found
    if len(schema.get("allOf", ())) == 1:
        return _resolved(schema["allOf"][0], document)
    return schema
