"""GraphQL over HTTP (the GraphQL Foundation's specification), as a bare ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from graphql import OperationType

from chassis.http import Application, Receive, Scope, Send
from chassis.resilience import deadline_in
from chassis.telemetry import current_trace_id
from graphql_server.engine import Engine, GraphqlRequest
from graphql_server.errors import BAD_INPUT, RequestError, refusal
from graphql_server.explorer import Page
from graphql_server.gateway_client import TIMEOUT_HEADER, GatewayClient
from graphql_server.loaders import Loaders
from graphql_server.parameters import InvalidParameters, request_of
from graphql_server.schema import Context

_JSON = "application/json"
_GRAPHQL = "application/graphql-response+json"
LARGEST_BODY = 256 << 10
# Of the time given, what is kept for the way back: a partial answer that arrives is better than none.
_RESERVE = 0.1
_PASSED_ON = {b"authorization": "Authorization", b"x-request-id": "X-Request-ID"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]


class HttpError(Exception):
    """The HTTP request is no GraphQL request that could be looked at."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.errors = [{"message": message, "extensions": {"code": code, "trace_id": current_trace_id()}}]
        self.headers = headers


class GraphqlApp:
    def __init__(self, engine: Engine, gateway: GatewayClient, sockets: Application, *, page: Page | None) -> None:
        """`sockets` serves WebSockets; `page` is what a browser is shown on GET."""
        self._engine = engine
        self._gateway = gateway
        self._sockets = sockets
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
            return
        headers = dict(scope["headers"])
        match scope["path"]:
            case "/graphql":
                answer = await self._graphql(scope, headers, receive)
            case "/healthz" | "/readyz":
                answer = Answer(200, _JSON, b'{"status":"ok"}', {})
            case _:
                error = HttpError(404, "NOT_FOUND", "there is only /graphql here")
                answer = _answer(error.status, {"errors": error.errors}, _JSON)
        await _respond(send, answer)

    async def _graphql(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Answer:
        accept = headers.get(b"accept", b"").decode("latin-1")
        if self._page and scope["method"] == "GET" and "text/html" in accept and not scope["query_string"]:
            return Answer(200, "text/html", self._page.html, self._page.headers)
        content_type = _GRAPHQL if _GRAPHQL in accept else _JSON
        try:
            request = await _request(scope, headers, receive)
            with deadline_in(_time_given(headers)):
                response = await self._execute(scope["method"], request, headers)
        except HttpError as error:
            return _answer(error.status, {"errors": error.errors}, content_type, error.headers)
        except RequestError as refused:
            # A client that knows only application/json is told in the body alone.
            return _answer(400 if content_type == _GRAPHQL else 200, {"errors": refused.errors}, content_type)
        return _answer(200, response, content_type)

    async def _execute(self, method: str, request: GraphqlRequest, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        operation = self._engine.operation(request)
        if operation.node.operation is OperationType.SUBSCRIPTION:
            raise refusal(BAD_INPUT, "subscriptions are answered over a WebSocket (graphql-transport-ws)")
        if method == "GET" and operation.node.operation is not OperationType.QUERY:
            raise HttpError(405, "METHOD_NOT_ALLOWED", "a GET changes nothing: send it by POST", Allow="POST")
        gateway = self._gateway.on_behalf_of(passed_on(headers), counted=True)
        return await self._engine.execute(operation, Context(gateway, Loaders(gateway)))


def passed_on(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Of the caller's header, what the gateway is told in turn."""
    return {name: headers[key].decode("latin-1") for key, name in _PASSED_ON.items() if key in headers}


async def _request(scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> GraphqlRequest:
    """Read the request. Raises `HttpError`."""
    if scope["method"] == "GET":
        parameters: Any = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        for name in ("variables", "extensions"):
            if name in parameters:
                parameters[name] = _json(parameters[name].encode()) if parameters[name] else None
    elif scope["method"] == "POST":
        media_type, _, parameter = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
        if media_type.strip() != _JSON or ("charset=" in parameter and "utf-8" not in parameter):
            raise HttpError(415, "UNSUPPORTED_MEDIA_TYPE", f"the body must be {_JSON} in UTF-8")
        parameters = _json(await _body(receive))
    else:
        raise HttpError(405, "METHOD_NOT_ALLOWED", "GET or POST", Allow="GET, POST")
    try:
        return request_of(parameters)
    except InvalidParameters as error:
        raise HttpError(400, error.code, str(error)) from error


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise HttpError(413, "BODY_TOO_LARGE", f"a body may have at most {LARGEST_BODY} bytes", Connection="close")
        if not message.get("more_body"):
            return bytes(body)


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, "INVALID_INPUT", f"this is not JSON: {error}") from error


def _time_given(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds to work with, of those that the gateway gives us; None where it says nothing."""
    milliseconds = headers.get(TIMEOUT_HEADER.encode(), b"")
    if not milliseconds.isdigit() or len(milliseconds) > 9:
        return None
    return int(milliseconds) / 1000 * (1 - _RESERVE)


def _answer(status: int, response: object, content_type: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, content_type, orjson.dumps(response), headers or {})


async def _respond(send: Send, answer: Answer) -> None:
    headers = {
        "content-type": f"{answer.content_type}; charset=utf-8",
        "content-length": str(len(answer.body)),
        "cache-control": "no-store",
        "vary": "accept",
        **answer.headers,
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})
