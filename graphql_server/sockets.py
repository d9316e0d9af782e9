"""GraphQL over WebSocket: one client's connection, its operations side by side, each in a task of its own.

Nothing is queued here. A client that reads slowly stops its operations' sending, which stops their reading from the
notifier; one that takes nothing for too long is closed, and goes on from the position that it had.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from graphql import OperationType

from chassis.errors import Kind, ShopError
from chassis.http import Receive, Scope, Send
from chassis.identity import TokenVerifier, bearer
from chassis.resilience import deadline_in
from chassis.telemetry import SpanKind, Telemetry
from graphql_server.engine import Engine, Operation
from graphql_server.errors import RequestError, rendered_error
from graphql_server.gateway_client import GatewayClient
from graphql_server.loaders import Loaders
from graphql_server.notifier_client import Notifier
from graphql_server.schema import Context
from graphql_server.socket_protocol import (
    ACK,
    FORBIDDEN,
    INIT_TIMEOUT,
    PONG,
    SUBPROTOCOL,
    SUBPROTOCOL_NOT_ACCEPTABLE,
    SUBSCRIBER_EXISTS,
    TOO_MANY_INITS,
    TRY_AGAIN_LATER,
    UNAUTHORIZED,
    Closed,
    Complete,
    Init,
    Ping,
    Subscribe,
    complete_message,
    error_message,
    next_message,
    parse,
)

log = logging.getLogger(__name__)
access_log = logging.getLogger("access")

_PATHS = ("/graphql", "/graphql/ws")
_INTERNAL = 4500


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Connections of this process; for each of them, operations at once and messages a second.

    Seconds: to say `connection_init`, to take what is sent, and for a query or one event's response.
    """

    connections: int
    operations: int
    rate: float
    init_timeout: float
    send_timeout: float
    budget: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections share."""

    engine: Engine
    gateway: GatewayClient
    notifier: Notifier
    verifier: TokenVerifier
    telemetry: Telemetry
    limits: SocketLimits


class Sockets:
    """The ASGI application for WebSockets."""

    def __init__(self, shared: Surroundings) -> None:
        self._shared = shared
        self._connections = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        parent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        with self._shared.telemetry.span("WebSocket /graphql", SpanKind.SERVER, protocol="WebSocket", parent=parent):
            admitted = await self._accept(scope, send)
        if admitted:
            self._connections += 1
            try:
                await _Connection(self._shared, scope, receive, send).serve()
            finally:
                self._connections -= 1

    async def _accept(self, scope: Scope, send: Send) -> bool:
        """Accept, so that even a browser can see why it is closed where it is at once."""
        if scope["path"] not in _PATHS:
            await send({"type": "websocket.close"})  # before it is accepted: 403
            return False
        acceptable = SUBPROTOCOL in scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if acceptable else None})
        if not acceptable:
            await _close(send, Closed(SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable"))
        elif self._connections >= self._shared.limits.connections:
            await _close(send, Closed(TRY_AGAIN_LATER, "this copy is full"))
        else:
            return True
        return False


class _Gone(Exception):
    """The client has closed the connection."""


class _Connection:
    def __init__(self, shared: Surroundings, scope: Scope, receive: Receive, send: Send) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._scope = scope
        self._receive = receive
        self._send_event = send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._caller: dict[str, str] = {}
        self._initialised = False
        self._acknowledged = False
        self._paced = 0.0
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Serve until either side closes it. What ends it is raised, and takes everything else with it."""
        began = time.perf_counter()
        end: Closed | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                too_late = _close_in(self._limits.init_timeout, INIT_TIMEOUT, "Connection initialisation timeout")
                await self._converse(tasks, tasks.create_task(too_late))
        except ExceptionGroup as ends:
            end = _decisive(ends)
        if end is not None:
            await _close(self._send_event, end)
        facts = {"status": end.code if end else "gone", "ms": round((time.perf_counter() - began) * 1000, 1)}
        access_log.info("WebSocket %s", self._scope["path"], extra=facts)

    async def _converse(self, tasks: asyncio.TaskGroup, init_timeout: asyncio.Task[None]) -> None:
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                raise _Gone
            match parse(event.get("text")):
                case Init(authorization):
                    await self._init(authorization, tasks)
                    init_timeout.cancel()
                case Ping():
                    await self._send(PONG)
                case Subscribe() as wanted:
                    self._subscribe(wanted, tasks)
                case Complete(operation_id):
                    task = self._operations.pop(operation_id, None)
                    if task is not None:
                        task.cancel()
            await self._pace()

    async def _pace(self) -> None:
        """Read no more than so many messages a second, a second's worth at once.

        It is a rate limit that refuses nobody: the client's own sending comes to a halt.
        """
        now = time.monotonic()
        self._paced = max(self._paced + 1 / self._limits.rate, now - 1)
        if self._paced > now:
            await asyncio.sleep(self._paced - now)

    async def _init(self, authorization: str, tasks: asyncio.TaskGroup) -> None:
        if self._initialised:
            raise Closed(TOO_MANY_INITS, "Too many initialisation requests")
        self._initialised = True
        authorization = authorization or self._headers.get(b"authorization", b"").decode("latin-1")
        token = bearer(authorization)
        if authorization and not token:
            raise Closed(FORBIDDEN, "Forbidden: a bearer token is expected")
        if token:
            try:
                principal = await self._shared.verifier.verify(token)
            except ShopError as error:
                raise Closed(
                    FORBIDDEN if error.kind is Kind.UNAUTHENTICATED else TRY_AGAIN_LATER, error.code
                ) from error
            self._caller = {"Authorization": f"Bearer {token}"}
            left = max(0.0, principal.expires_at - time.time())
            tasks.create_task(_close_in(left, FORBIDDEN, "Forbidden: the token has expired"))
        self._acknowledged = True
        await self._send(ACK)

    def _subscribe(self, wanted: Subscribe, tasks: asyncio.TaskGroup) -> None:
        if not self._acknowledged:
            raise Closed(UNAUTHORIZED, "Unauthorized")
        if wanted.id in self._operations:
            raise Closed(SUBSCRIBER_EXISTS, f"Subscriber for {wanted.id[:64]} already exists")
        too_many = len(self._operations) >= self._limits.operations
        self._operations[wanted.id] = tasks.create_task(self._refuse(wanted) if too_many else self._carry_out(wanted))

    async def _refuse(self, wanted: Subscribe) -> None:
        message = f"at most {self._limits.operations} operations at once on a connection"
        await self._end(wanted, ShopError("TOO_MANY_OPERATIONS", message, Kind.EXHAUSTED))

    async def _carry_out(self, wanted: Subscribe) -> None:
        try:
            with self._occasion():
                operation = self._shared.engine.operation(wanted.request)
            if operation.node.operation is OperationType.SUBSCRIPTION:
                await self._tell_events(wanted.id, operation)
            else:
                with self._occasion() as context:
                    response = await self._shared.engine.execute(operation, context)
                await self._send(next_message(wanted.id, response))
            self._forget(wanted)
            await self._send(complete_message(wanted.id))
        except RequestError as refused:
            await self._end(wanted, refused)
        except ShopError as error:
            if error.kind is Kind.UNAVAILABLE:
                raise Closed(TRY_AGAIN_LATER, error.code) from error
            await self._end(wanted, error)

    async def _tell_events(self, operation_id: str, operation: Operation) -> None:
        with self._occasion():
            responses = self._shared.engine.subscribe(operation, self._context(), self._occasion)
        async with aclosing(responses):
            async for response in responses:
                await self._send(next_message(operation_id, response))

    async def _end(self, wanted: Subscribe, error: RequestError | ShopError) -> None:
        self._forget(wanted)
        with self._occasion():
            errors = error.errors if isinstance(error, RequestError) else [rendered_error(error)]
        await self._send(error_message(wanted.id, errors))

    def _forget(self, wanted: Subscribe) -> None:
        """The id may be used again, unless it is already: a client that has completed it need not wait."""
        if self._operations.get(wanted.id) is asyncio.current_task():
            del self._operations[wanted.id]

    @contextmanager
    def _occasion(self) -> Iterator[Context]:
        """A trace, a deadline and loaders for one query or one event: a connection may last for days.

        No side of a boundary begins here: that was the handshake.
        """
        with (
            self._shared.telemetry.span("graphql", SpanKind.INTERNAL, protocol="WebSocket"),
            deadline_in(self._limits.budget),
        ):
            yield self._context()

    def _context(self) -> Context:
        gateway = self._shared.gateway.on_behalf_of(self._caller, counted=False)
        return Context(gateway, Loaders(gateway), self._shared.notifier.order_events(self._caller))

    async def _send(self, text: str) -> None:
        try:
            async with asyncio.timeout(self._limits.send_timeout):
                await self._send_event({"type": "websocket.send", "text": text})
        except TimeoutError:
            raise Closed(TRY_AGAIN_LATER, "too slow") from None
        except OSError as error:
            raise _Gone from error


def _decisive(ends: ExceptionGroup[Exception]) -> Closed | None:
    """Of what ended a connection, how to close it; None when the client has."""
    found: Closed | None = None
    for end in ends.exceptions:
        if isinstance(end, Closed):
            found = found or end
        elif not isinstance(end, _Gone):
            log.error("unexpected error", exc_info=end)
            return Closed(_INTERNAL, "internal error")
    return found


async def _close_in(seconds: float, code: int, reason: str) -> None:
    await asyncio.sleep(seconds)
    raise Closed(code, reason)


async def _close(send: Send, end: Closed) -> None:
    try:
        async with asyncio.timeout(1):
            await send({"type": "websocket.close", "code": end.code, "reason": end.reason})
    except (OSError, TimeoutError):
        log.debug("closed without a word: the client takes nothing")
