"""Breaking changes between two OpenAPI documents. Pure functions.

Towards a client we may promise more and ask for less, never the other way round: what it sends must go on being
accepted, what it reads must go on being there.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

Json = dict[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_LOWER_BOUNDS = ("minLength", "minItems", "minimum", "exclusiveMinimum", "minProperties")
_UPPER_BOUNDS = ("maxLength", "maxItems", "maximum", "exclusiveMaximum", "maxProperties")
_MAX_DEPTH = 12


class Way(Enum):
    """Direction of a value: clients write it, or they read it."""

    SENT = "sent"
    READ = "read"


def breaking_changes(old: Json, new: Json) -> list[str]:
    """Changes that break clients of the old document, one line each."""
    return sorted(set(_document(old, new)))


def _document(old: Json, new: Json) -> Iterator[str]:
    for path, operations in old["paths"].items():
        for method in _METHODS:
            if method not in operations:
                continue
            where = f"{method.upper()} {path}"
            found = new["paths"].get(path, {}).get(method)
            if found is None:
                yield f"{where}: is gone"
            else:
                yield from _operation(where, operations[method], found, old, new)


def _operation(where: str, was: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    if _needs_token(now) and not _needs_token(was):
        yield f"{where}: needs a token now"
    yield from _parameters(where, was, now, old, new)
    yield from _body(where, was.get("requestBody", {}), now.get("requestBody", {}), old, new)
    for status, response in was["responses"].items():
        if int(status) >= 400:
            continue
        if status not in now["responses"]:
            yield f"{where}: never answers {status} now"
            continue
        for media_type, content in response.get("content", {}).items():
            there = now["responses"][status].get("content", {}).get(media_type)
            if there is None:
                yield f"{where}: {status} is not {media_type} now"
            else:
                was_body, is_body = content.get("schema", {}), there.get("schema", {})
                yield from _schema(f"{where} {status}", was_body, is_body, Way.READ, old, new)


def _needs_token(operation: Json) -> bool:
    """Whether each of the ways to call it has a token: `{}` is the way without one."""
    return {} not in (operation.get("security") or [{}])


def _parameters(where: str, was: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    before = {(each["in"], each["name"]): each for each in was.get("parameters", ())}
    after = {(each["in"], each["name"]): each for each in now.get("parameters", ())}
    for key, parameter in after.items():
        if parameter.get("required") and not before.get(key, {}).get("required"):
            yield f"{where}: the {key[0]} parameter {key[1]} is required now"
    for key, parameter in before.items():
        if key not in after:
            yield f"{where}: the {key[0]} parameter {key[1]} is gone"
        else:
            place = f"{where} {key[1]}"
            yield from _schema(place, parameter["schema"], after[key]["schema"], Way.SENT, old, new)


def _body(where: str, was: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    if now.get("required") and not was.get("required"):
        yield f"{where}: a body is required now"
    for media_type, content in was.get("content", {}).items():
        there = now.get("content", {}).get(media_type)
        if there is None:
            yield f"{where}: takes no {media_type} now"
        else:
            was_body, is_body = content.get("schema", {}), there.get("schema", {})
            yield from _schema(f"{where} body", was_body, is_body, Way.SENT, old, new)


def _schema(where: str, was: Json, now: Json, way: Way, old: Json, new: Json, depth: int = 0) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    was, now = _resolved(was, old), _resolved(now, new)
    before, after = _types(was, old), _types(now, new)
    narrower, wider = sorted(before - after), sorted(after - before)
    if way is Way.SENT and narrower:
        yield f"{where}: may not be {' or '.join(narrower)} now"
    if way is Way.READ and wider:
        yield f"{where}: may be {' or '.join(wider)} now"
    was, now = _substance(was, old), _substance(now, new)
    if way is Way.SENT:
        yield from _bounds(where, was, now)
    yield from _values(where, was, now, way)
    yield from _properties(where, was, now, way, old, new, depth)
    if "items" in was and "items" in now:
        yield from _schema(f"{where}[]", was["items"], now["items"], way, old, new, depth + 1)


def _bounds(where: str, was: Json, now: Json) -> Iterator[str]:
    for name in _LOWER_BOUNDS:
        if name in now and (name not in was or now[name] > was[name]):
            yield f"{where}: {name} is {now[name]} now"
    for name in _UPPER_BOUNDS:
        if name in now and (name not in was or now[name] < was[name]):
            yield f"{where}: {name} is {now[name]} now"
    # Whether another pattern takes less is undecidable in general.
    if now.get("pattern") not in (None, was.get("pattern")):
        yield f"{where}: the pattern is {now['pattern']} now"


def _values(where: str, was: Json, now: Json, way: Way) -> Iterator[str]:
    before, after = _enumerated(was), _enumerated(now)
    if way is Way.SENT and after is not None and (before is None or before - after):
        gone = sorted(before - after) if before else ["anything else"]
        yield f"{where}: may not be {', '.join(gone)} now"
    if way is Way.READ and before is not None and (after is None or after - before):
        added = sorted(after - before) if after else ["anything"]
        yield f"{where}: may be {', '.join(added)} now"


def _properties(where: str, was: Json, now: Json, way: Way, old: Json, new: Json, depth: int) -> Iterator[str]:
    before, after = was.get("properties", {}), now.get("properties", {})
    needed_before, needed_after = set(was.get("required", ())), set(now.get("required", ()))
    for name in sorted(before.keys() - after.keys()):
        yield f"{where}.{name}: is gone"
    if way is Way.SENT:
        for name in sorted(needed_after - needed_before):
            yield f"{where}.{name}: is required now"
    else:
        for name in sorted((needed_before - needed_after) & after.keys()):
            yield f"{where}.{name}: may be missing now"
    for name in before.keys() & after.keys():
        yield from _schema(f"{where}.{name}", before[name], after[name], way, old, new, depth + 1)


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _alternatives(schema: Json, document: Json) -> list[Json]:
    return [_resolved(each, document) for each in schema.get("anyOf") or schema.get("oneOf") or [schema]]


def _types(schema: Json, document: Json) -> set[str]:
    """The JSON types that a value may have; "integer" is a "number" too."""
    return {str(each["type"]) for each in _alternatives(schema, document) if "type" in each}


def _substance(schema: Json, document: Json) -> Json:
    """The schema without null, of "this or null"."""
    return next((each for each in _alternatives(schema, document) if each.get("type") != "null"), schema)


def _enumerated(schema: Json) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(value) for value in schema["enum"]} if "enum" in schema else None
