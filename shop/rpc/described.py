"""A server's own description by reflection (grpc.reflection.v1alpha), and messages made of `field=value`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from shop.errors import Refused, nearest

_OWN = "grpc."
# Seconds for each reflection call.
_TIMEOUT = 10.0
NEXT = "+"


def methods(channel: grpc.Channel) -> dict[str, MethodDescriptor]:
    """The methods of a server by their names, those of gRPC's own services left out. Raises `grpc.RpcError`."""
    database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, _Deadline()))
    pool = DescriptorPool(database)
    services = [name for name in database.get_services() if not name.startswith(_OWN)]
    return {method.name: method for name in services for method in pool.FindServiceByName(name).methods}


class _Call(NamedTuple):
    """A call as gRPC describes it to an interceptor."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Deadline(grpc.StreamStreamClientInterceptor):
    """Gives each reflection call the time that it has: the library gives it none."""

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Call with a timeout."""
        given = client_call_details
        call = _Call(given.method, _TIMEOUT, given.metadata, given.credentials, given.wait_for_ready, given.compression)
        return continuation(call, request_iterator)


def find(known: dict[str, MethodDescriptor], name: str) -> MethodDescriptor:
    """The method of a name, whatever stands before it ("shop.orders.v1.OrderService/"). Raises `Refused`."""
    found = known.get(name.rpartition("/")[2])
    if found is None:
        raise Refused(f'unknown method "{name}"{nearest(name, known, else_="; there are: " + ", ".join(known))}')
    return found


def requests(method: MethodDescriptor, arguments: Sequence[str], lines: Iterable[str]) -> list[Message]:
    """The messages to send: of `field=value` arguments, separated by "+", and of lines that are JSON objects each.

    Raises `Refused` for a field that the message has not, and a value that it cannot have.
    """
    groups: list[list[str]] = [[]]
    for argument in arguments:
        if argument == NEXT:
            groups.append([])
        else:
            groups[-1].append(argument)
    contents = [_content(method, group) for group in groups if group]
    contents += [_object(line) for line in lines if line.strip()]
    if not method.client_streaming:
        if len(contents) > 1:
            raise Refused(f"{method.name} takes one message, and {len(contents)} were given")
        contents = contents or [{}]
    return [_message(method, content) for content in contents]


def _content(method: MethodDescriptor, arguments: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    fields = method.input_type.fields_by_name
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise Refused(f'"{argument}" is not of the form field=value')
        path = name.split(".")
        field = fields.get(path[0])
        if field is None:
            listed = f"; its fields: {', '.join(fields) or 'none'}"
            raise Refused(f'{method.input_type.name} has no field "{path[0]}"{nearest(path[0], fields, listed)}')
        place, field = _descend(content, field, path)
        value = _value(field, text)
        if field.is_repeated:
            place.setdefault(path[-1], []).extend(value if isinstance(value, list) else [value])
        else:
            place[path[-1]] = value
    return content


def _descend(
    content: dict[str, Any], field: FieldDescriptor, path: Sequence[str]
) -> tuple[dict[str, Any], FieldDescriptor]:
    """The object in which the last name of a dotted path stands, and its field."""
    for name, after in pairwise(path):
        inner = field.message_type.fields_by_name.get(after) if field.message_type else None
        if inner is None or field.is_repeated:
            raise Refused(f'"{name}" has no field "{after}"')
        content, field = content.setdefault(name, {}), inner
    return content, field


def _value(field: FieldDescriptor, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(_bytes(text)).decode()
    if field.type == FieldDescriptor.TYPE_STRING and not (field.is_repeated and text.startswith("[")):
        return text
    if text[:1] in ("[", "{"):
        return _json(text)
    return {"true": True, "false": False}.get(text, text) if field.type == FieldDescriptor.TYPE_BOOL else text


def _bytes(text: str) -> bytes:
    """The text's bytes; of `@PATH` the file's."""
    try:
        return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
    except OSError as error:
        raise Refused(f"{text[1:]} cannot be read: {error.strerror}") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Refused(f"invalid JSON {text}: {error}") from error


def _object(line: str) -> dict[str, Any]:
    content = _json(line)
    if not isinstance(content, dict):
        raise Refused(f"a message is a JSON object, and not {line.strip()}")
    return content


def _message(method: MethodDescriptor, content: dict[str, Any]) -> Message:
    try:
        return json_format.ParseDict(content, GetMessageClass(method.input_type)())
    except json_format.ParseError as error:
        raise Refused(f"invalid {method.input_type.name}: {error}") from error
