"""graphql-transport-ws (the protocol of the npm package graphql-ws), without any I/O: messages, and why one closes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from graphql_server.engine import GraphqlRequest
from graphql_server.parameters import InvalidParameters, request_of

SUBPROTOCOL = "graphql-transport-ws"

# RFC 6455 and IANA: a client comes back by itself after these.
TRY_AGAIN_LATER = 1013
# The protocol's own. Clients come back after 4403, since they may have a new token by then, and not after the others.
BAD_REQUEST = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
SUBPROTOCOL_NOT_ACCEPTABLE = 4406
INIT_TIMEOUT = 4408
SUBSCRIBER_EXISTS = 4409
TOO_MANY_INITS = 4429

_LONGEST_ID = 128


class Closed(Exception):
    """The connection is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Init:
    """`authorization` is the header's value that the client sends here since a browser cannot send the header."""

    authorization: str


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class Pong:
    pass


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Any operation, a query or mutation, too."""

    id: str
    request: GraphqlRequest


@dataclass(frozen=True, slots=True)
class Complete:
    id: str


Message = Init | Ping | Pong | Subscribe | Complete


def parse(text: str | None) -> Message:
    """A client's message. Raises `Closed` with 4400 for anything that is not one."""
    try:
        message = orjson.loads(text or "")
    except orjson.JSONDecodeError as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(message, dict):
        raise _invalid("it is no object")
    payload = message.get("payload")
    match message.get("type"):
        case "connection_init":
            return Init(_authorization(payload))
        case "ping":
            return Ping()
        case "pong":
            return Pong()
        case "subscribe":
            try:
                return Subscribe(_id(message), request_of(payload))
            except InvalidParameters as error:
                raise _invalid(str(error)) from error
        case "complete":
            return Complete(_id(message))
    raise _invalid("its type is unknown")


ACK = '{"type":"connection_ack"}'
PONG = '{"type":"pong"}'


def next_message(operation: str, response: dict[str, Any]) -> str:
    return _encoded({"id": operation, "type": "next", "payload": response})


def error_message(operation: str, errors: list[dict[str, Any]]) -> str:
    """The end of an operation that has failed before its execution, or without a way to go on."""
    return _encoded({"id": operation, "type": "error", "payload": errors})


def complete_message(operation: str) -> str:
    return _encoded({"id": operation, "type": "complete"})


def _encoded(message: dict[str, Any]) -> str:
    return orjson.dumps(message).decode()


def _authorization(payload: object) -> str:
    if payload is None:
        return ""
    if not isinstance(payload, dict):
        raise _invalid("the payload is no object")
    for name, value in payload.items():
        if name.lower() == "authorization" and value is not None:
            if not isinstance(value, str) or not value.isascii() or not value.isprintable():
                raise _invalid("authorization is no header's value")
            return value
    return ""


def _id(message: dict[str, Any]) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not 1 <= len(found) <= _LONGEST_ID:
        raise _invalid(f"an id is a string of 1 to {_LONGEST_ID} characters")
    return found


def _invalid(why: str) -> Closed:
    return Closed(BAD_REQUEST, f"Invalid message: {why}"[:120])
