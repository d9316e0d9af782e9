"""GraphQL over HTTP (the GraphQL Foundation's specification): Strawberry's ASGI view, with its media types and codes.

Strawberry reads, executes and answers; overridden is what the specification leaves to a server, and what the audits of
the npm package graphql-http check: media types, status codes and errors with codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException, StarletteRequestAdapter
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.schema import BaseSchema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from chassis.clients.gateway import CLIENT_HEADER, TIMEOUT_HEADER, GatewayClient, passed_on
from chassis.errors import Kind, ShopError
from chassis.http.header_fields import media_weight, weights
from chassis.http.middleware import Application, Receive, Scope, Send, send_problem
from chassis.observability.tracing import SpanKind
from chassis.resilience.deadlines import deadline_in
from graphql_server.document_cache import Documents
from graphql_server.errors import BAD_INPUT, INTERNAL, RequestRefused, response_of
from graphql_server.schema import Context
from graphql_server.websocket.connection import SocketAdapter, SocketContext, SocketServices
from graphql_server.websocket.handler import SocketHandler, authenticate

MAX_BODY_BYTES = 256 << 10
_JSON = "application/json"
_GRAPHQL = "application/graphql-response+json"
# The share of the time given that is kept for the way back: a partial answer that arrives is better than none.
_RESERVE = 0.1
_HEADERS = {"cache-control": "no-store", "vary": "accept"}


class BoundedRequest(StarletteRequestAdapter):
    """A request whose body is read up to `MAX_BODY_BYTES`."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._chunks = request.stream

    async def get_body(self) -> bytes:
        """Raises BODY_TOO_LARGE."""
        body = bytearray()
        async for chunk in self._chunks():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                message = f"the body must have at most {MAX_BODY_BYTES} bytes"
                raise RequestRefused("BODY_TOO_LARGE", message, status=413, Connection="close")
        return bytes(body)


class GraphqlView(GraphQL[Any, None]):
    """Serves `/graphql` over HTTP and WebSocket (graphql-transport-ws)."""

    request_adapter_class = BoundedRequest
    websocket_adapter_class = SocketAdapter
    graphql_transport_ws_handler_class = SocketHandler

    def __init__(
        self, schema: BaseSchema, documents: Documents, gateway: GatewayClient, sockets: SocketServices
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=sockets.limits.init_timeout,
            # Any origin: there are no cookies to abuse, and the gateway has checked it.
            allowed_origins=("*",),
        )
        self.documents = documents
        self._gateway = gateway
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.run(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        try:
            with deadline_in(_time_given(request.headers)):
                response = await self.run(request)
        except RequestRefused as refused:
            response = _refusal(refused, request)
        except HTTPException as error:
            response = _refusal(_as_refused(error), request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Any:  # noqa: ARG002
        if isinstance(request, WebSocket):
            authorization = request.headers.get("authorization", "")
            client = request.headers.get(CLIENT_HEADER, "")
            return SocketContext(self._sockets, self.documents, {"Authorization": authorization}, client)
        return Context(self._gateway.on_behalf_of(passed_on(request.headers), counted=True))

    async def on_ws_connect(self, context: Any) -> Any:
        await authenticate(context)
        return await super().on_ws_connect(context)

    async def create_websocket_response(self, request: WebSocket, subprotocol: str | None) -> WebSocket:
        parent = request.headers.get("traceparent")
        with self._sockets.telemetry.span("WebSocket /graphql", SpanKind.SERVER, protocol="WebSocket", parent=parent):
            return await super().create_websocket_response(request, subprotocol)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        return _EMPTY[_media_type(request.headers)]

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:  # noqa: ARG002  # Strawberry's signature
        """Never: the page for people is the gateway's."""
        return False

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """The request's parameters. Raises `RequestRefused`."""
        if request.method == "GET":
            given = {name: value or None for name, value in request.query_params.items()}
            return self.documents.requested(self.parse_query_params(given))
        media_type, _, parameter = (request.content_type or "").lower().partition(";")
        if media_type.strip() != _JSON or ("charset=" in parameter and "utf-8" not in parameter):
            raise RequestRefused("UNSUPPORTED_MEDIA_TYPE", f"the body must be {_JSON} in UTF-8", status=415)
        return self.documents.requested(self.parse_json(await request.get_body()))

    async def execute_operation(
        self,
        request: Request,  # noqa: ARG002  # Strawberry's signature
        request_adapter: AsyncHTTPRequestAdapter,
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: Any,
        root_value: None,  # noqa: ARG002
        sub_response: Response,  # noqa: ARG002
    ) -> ExecutionResult:
        """Execute a query, or a mutation that was not sent by GET. Raises `RequestRefused` for anything else."""
        assert isinstance(request_data, GraphQLRequestData), "batches are refused before"  # noqa: S101
        allowed = {OperationType.QUERY} if request_adapter.method == "GET" else _BY_POST
        try:
            return await self.schema.execute(
                request_data.query,
                variable_values=request_data.variables,
                context_value=context,
                operation_name=request_data.operation_name,
                allowed_operation_types=allowed,
            )
        except CannotGetOperationTypeError as error:
            raise RequestRefused(BAD_INPUT, error.as_http_error_reason()) from error
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION:
                message = "send subscriptions over a WebSocket (graphql-transport-ws)"
                raise RequestRefused(BAD_INPUT, message) from error
            message = "send mutations by POST: a GET must change nothing"
            raise RequestRefused("METHOD_NOT_ALLOWED", message, status=405, Allow="POST") from error

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:  # noqa: ARG002
        return cast("GraphQLHTTPResponse", response_of(result))

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        return _response(response_data, sub_response.media_type or _JSON)

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)


_BY_POST = {OperationType.QUERY, OperationType.MUTATION}
# What Strawberry hands from request to response: here, only the media type.
_EMPTY = {media_type: Response(media_type=media_type) for media_type in (_JSON, _GRAPHQL)}


def by_path(view: GraphqlView) -> Application:
    """The ASGI application: the view at /graphql, the process's health, and 404 for the rest."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        path, websocket = scope["path"], scope["type"] == "websocket"
        if path == "/graphql" or (websocket and path == "/graphql/ws"):
            await view(scope, receive, send)
        elif websocket:
            await WebSocket(scope, receive, send).close()  # before it is accepted: 403
        elif path not in ("/healthz", "/readyz"):
            await send_problem(send, ShopError("NOT_FOUND", "the only resource here is /graphql", Kind.NOT_FOUND))
        elif scope["method"] in ("GET", "HEAD"):
            await Response(b'{"status":"ok"}', media_type=_JSON)(scope, receive, send)
        else:
            error = ShopError("METHOD_NOT_ALLOWED", "use GET or HEAD", Kind.INVALID)
            await send_problem(send, error, headers={"allow": "GET, HEAD"})

    return application


def _media_type(headers: Headers) -> str:
    """The media type to answer in: plain JSON, unless the client names the newer one and prefers it.

    GraphQL over HTTP, section 6.1; a client that accepts neither gets plain JSON as well.
    """
    return _preferred(",".join(headers.getlist("accept")))


@lru_cache(maxsize=64)
def _preferred(accept: str) -> str:
    # Media type -> its weight (RFC 9110, 12.5.1).
    accepted = weights(accept)
    newer, plain = media_weight(accepted, _GRAPHQL), media_weight(accepted, _JSON)
    return _GRAPHQL if newer > plain or (newer == plain > 0 and _GRAPHQL in accepted) else _JSON


def _time_given(headers: Mapping[str, str]) -> float | None:
    """Seconds to work with, of those that the gateway gives us; None without a limit."""
    milliseconds = headers.get(TIMEOUT_HEADER, "")
    if not milliseconds.isdecimal() or len(milliseconds) > 9:
        return None
    return int(milliseconds) / 1000 * (1 - _RESERVE)


def _as_refused(error: HTTPException) -> RequestRefused:
    """Strawberry's own refusals: another method, and a body or a parameter that is not JSON."""
    if error.status_code == 405:
        return RequestRefused("METHOD_NOT_ALLOWED", "use GET or POST", status=405, Allow="GET, POST")
    return RequestRefused(BAD_INPUT, error.reason, status=error.status_code)


def _refusal(refused: RequestRefused, request: Request) -> Response:
    return _response(refused.response(), _media_type(request.headers), refused.status, refused.headers)


def _response(
    content: Any, media_type: str, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    if status is None:
        status = 200 if "data" in content else _status_without_data(content, media_type)
    return Response(
        orjson.dumps(content), status, {**_HEADERS, **(headers or {})}, media_type=f"{media_type}; charset=utf-8"
    )


def _status_without_data(content: Any, media_type: str) -> int:
    """Status of a response without an executed operation. A client of application/json reads it in the body alone."""
    if content["errors"][0]["extensions"]["code"] == INTERNAL:
        return 500
    return 400 if media_type == _GRAPHQL else 200
