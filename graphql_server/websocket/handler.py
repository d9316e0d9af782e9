"""GraphQL over WebSocket: Strawberry's graphql-transport-ws handler, with bounds on what one client may use.

Nothing is queued here. A client that reads slowly stops its operations' sending, which stops their reading from the
notifier; one that takes nothing for too long is closed, and goes on from the position that it had.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
    SubscribeMessagePayload,
)
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from chassis import wall_clock
from chassis.auth.identity import bearer
from chassis.errors import Kind, ShopError
from chassis.observability.tracing import SpanKind
from chassis.resilience.deadlines import deadline_in
from graphql_server.document_cache import check_parameters
from graphql_server.errors import BAD_INPUT, RequestRefused, is_request_error, response_of
from graphql_server.order_events import order_events
from graphql_server.schema import Context
from graphql_server.websocket.connection import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL,
    TRY_AGAIN_LATER,
    Closed,
    SocketAdapter,
    SocketContext,
)

log = logging.getLogger(__name__)
access_log = logging.getLogger("access")

_MAX_ID_LENGTH = 128
_ONE_RESULT = {OperationType.QUERY, OperationType.MUTATION}


class SocketHandler(BaseGraphQLTransportWSHandler[SocketContext, None]):
    """One connection: Strawberry keeps the protocol's order, and calls this for what is ours."""

    websocket: SocketAdapter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._services = self.context.services
        self._limits = self._services.limits
        self.websocket.send_timeout = self._limits.send_timeout
        self._paced = 0.0
        self._expiry: asyncio.Task[None] | None = None

    async def handle(self) -> None:
        began = time.perf_counter()
        open_ones, client = self._services.open, self.context.client
        if open_ones.total() >= self._limits.connections:
            await self.websocket.close(TRY_AGAIN_LATER, "too many connections to this copy: connect again later")
            return
        if client and open_ones[client] >= self._limits.connections_of_client:
            await self.websocket.close(TRY_AGAIN_LATER, "too many connections of this client: close one first")
            return
        open_ones[client] += 1
        try:
            await super().handle()
        finally:
            open_ones[client] -= 1
            if not open_ones[client]:
                del open_ones[client]
            facts = {
                "status": self.websocket.closed_with or "gone",
                "ms": round((time.perf_counter() - began) * 1000, 1),
            }
            access_log.info("WebSocket %s", self.websocket.ws.url.path, extra=facts)

    async def shutdown(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        await super().shutdown()

    async def handle_message(self, message: Message) -> None:
        try:
            _check(message)
            await super().handle_message(message)
        except Closed as end:
            await self.websocket.close(end.code, end.reason)
        else:
            await self._pace()

    async def handle_invalid_message(self, error_message: str) -> None:
        await self.websocket.close(BAD_REQUEST, f"Invalid message: {error_message}")

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        await super().handle_connection_init(message)
        if self.context.expires_at is not None and self._expiry is None:
            self._expiry = asyncio.create_task(self._expire(self.context.expires_at))

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Start an operation; one too many, or a document that is not executed, is an error of that operation alone."""
        if self.connection_acknowledged and message["id"] not in self.operations:
            try:
                message["payload"] = self._payload(message)
            except RequestRefused as refused:
                with self._scope():
                    errors: Any = refused.response()["errors"]
                await self.send_message({"id": message["id"], "type": "error", "payload": errors})
                return
        await super().handle_subscribe(message)

    def _payload(self, message: SubscribeMessage) -> SubscribeMessagePayload:
        """The payload with the text of the document that it means. Raises `RequestRefused`."""
        if len(self.operations) >= self._limits.operations:
            at_most = f"connection must have at most {self._limits.operations} operations at once"
            raise RequestRefused("TOO_MANY_OPERATIONS", at_most)
        found = self.context.documents.requested(message["payload"])
        return {"query": found.query or "", "variables": found.variables, "operationName": found.operation_name}

    async def run_operation(self, operation: Operation[SocketContext, None]) -> None:
        try:
            if not await self._execute(operation):
                await self._subscribe(operation)
            await operation.send_operation_message({"id": operation.id, "type": "complete"})
        except WebSocketDisconnected:
            return
        except Closed as end:
            await self.websocket.close(end.code, end.reason)
        except Exception:
            log.exception("GraphQL operation failed unexpectedly")
            await self.websocket.close(INTERNAL, "internal error")

    async def _execute(self, operation: Operation[SocketContext, None]) -> bool:
        """Answer a query or mutation; False for a subscription."""
        with self._scope():
            try:
                result = await self.schema.execute(
                    operation.query,
                    variable_values=operation.variables,
                    context_value=self._operation_context(),
                    operation_name=operation.operation_name,
                    allowed_operation_types=_ONE_RESULT,
                )
            except InvalidOperationTypeError:
                return False
            except CannotGetOperationTypeError as error:
                refused = RequestRefused(BAD_INPUT, error.as_http_error_reason())
                await self._end(operation, refused.response())
                return True
            await self._send(operation, result)
        return True

    async def _subscribe(self, operation: Operation[SocketContext, None]) -> None:
        """Send a response for each event, in the event's own scope (see `Context.event`)."""
        results = await self.schema.subscribe(
            operation.query,
            variable_values=operation.variables,
            context_value=self._operation_context(),
            operation_name=operation.operation_name,
        )
        async with aclosing(results):
            async for result in results:
                if is_request_error(result):
                    with self._scope():
                        await self._send(operation, result)
                else:
                    await self._send(operation, result)

    async def _send(self, operation: Operation[SocketContext, None], result: ExecutionResult) -> None:
        response = response_of(result)
        if "data" in response:
            payload: Any = response
            await operation.send_operation_message({"id": operation.id, "type": "next", "payload": payload})
            return
        cause = result.errors[0].original_error if result.errors else None
        if isinstance(cause, ShopError) and cause.kind is Kind.UNAVAILABLE:
            raise Closed(TRY_AGAIN_LATER, cause.code) from cause
        await self._end(operation, response)

    async def _end(self, operation: Operation[SocketContext, None], response: dict[str, Any]) -> None:
        await operation.send_operation_message({"id": operation.id, "type": "error", "payload": response["errors"]})

    def _operation_context(self) -> Context:
        # Not counted: the gateway sees only the connection, so each call upstream counts against the caller's limits.
        caller, client = self.context.caller, self.context.client
        gateway = self._services.gateway.on_behalf_of(caller, counted=False, client=client)
        events = order_events(self._services.notifier, self.context.caller)
        return Context(gateway, order_events=events, event_scope=self._scope)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """A trace and a deadline for one query or one event: a connection may last for days.

        The span is internal: the boundary's server side was the handshake.
        """
        with (
            self._services.telemetry.span("graphql", SpanKind.INTERNAL, protocol="WebSocket"),
            deadline_in(self._limits.budget),
        ):
            yield

    async def _pace(self) -> None:
        """Read at most so many messages a second, a second's worth at once.

        This rate limit refuses nothing: the client's own sending comes to a halt.
        """
        now = time.monotonic()
        self._paced = max(self._paced + 1 / self._limits.rate, now - 1)
        if self._paced > now:
            await asyncio.sleep(self._paced - now)

    async def _expire(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - wall_clock.seconds()))
        await self.websocket.close(FORBIDDEN, "Forbidden: the token has expired")


async def authenticate(context: SocketContext) -> None:
    """Verify the token of `connection_init`'s payload, or of the handshake's header; without one, stay anonymous.

    Raises `ConnectionRejectionError` for one that is not valid, and `Closed` while tokens cannot be verified.
    """
    authorization = _authorization(context.connection_params or {}) or context.caller.pop("Authorization", "")
    if not authorization:
        return
    try:
        principal = await context.services.verifier.verify(bearer(authorization))
    except ShopError as error:
        if error.kind is Kind.UNAUTHENTICATED:
            raise ConnectionRejectionError from error
        raise Closed(TRY_AGAIN_LATER, error.code) from error
    context.caller["Authorization"] = f"Bearer {bearer(authorization)}"
    context.expires_at = principal.expires_at


def _authorization(payload: Mapping[str, Any]) -> str:
    """The header's value, which a browser can only send here."""
    for name, value in payload.items():
        if name.lower() == "authorization" and value is not None:
            if not isinstance(value, str) or not value.isascii() or not value.isprintable():
                raise _malformed("authorization must be a header's value")
            return value
    return ""


def _check(message: Any) -> None:
    """Raise `Closed` for a message of another shape than the protocol's: Strawberry takes the shape for granted."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise _malformed("must be an object with a type")
    if message.get("payload") is not None and not isinstance(message["payload"], dict):
        raise _malformed("payload must be an object")
    if message["type"] in ("subscribe", "complete"):
        found = message.get("id")
        if not isinstance(found, str) or not 1 <= len(found) <= _MAX_ID_LENGTH:
            raise _malformed(f"id must be a string of 1 to {_MAX_ID_LENGTH} characters")
    if message["type"] == "subscribe":
        try:
            check_parameters(message.get("payload"))
        except RequestRefused as refused:
            raise _malformed(str(refused)) from refused


def _malformed(what: str) -> Closed:
    return Closed(BAD_REQUEST, f"Invalid message: {what}")
