"""gRPC server: each call is traced, authenticated, authorized and bounded in time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from typing import Any, Protocol, cast

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from chassis.auth.identity import ANONYMOUS, Rule, TokenVerifier, act_as, bearer, check
from chassis.auth.tls import Tls
from chassis.errors import Kind, ShopError, unavailable
from chassis.grpc.decoding import Unreadable, readable, reading
from chassis.grpc.errors import STATUS_DETAILS, STATUS_OF, status_of
from chassis.observability.capture import rpc
from chassis.observability.capture.places import handler_place
from chassis.observability.tracing import NOTE, Span, SpanKind, Telemetry, current_trace_id
from chassis.resilience.deadlines import begin_deadline

log = logging.getLogger(__name__)

# A method's name ("PlaceOrder") -> who may call it. A method that is not in it refuses every caller.
Policy = Mapping[str, Rule]

_DRAIN_SECONDS = 5.0
# Counted here: gRPC's own limit costs a callback a call, and answers without our details.
_MAX_CALLS = 1_000
# More than those calls, so that one beyond them still gets our refusal with its details.
MAX_STREAMS = 2 * _MAX_CALLS


_REFUSALS = frozenset(
    {Kind.INVALID, Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.CONFLICT, Kind.PRECONDITION, Kind.EXHAUSTED}
)


class ServedObserver(Protocol):
    def call_served(self, method: str, code: str, seconds: float) -> None:
        """`method` is the whole name, "shop.orders.v1.OrderService/GetOrder"; `code` a gRPC status' name."""


class Boundary:
    """Wraps each method once, when it is registered: an interceptor would run at every call."""

    def __init__(
        self,
        policy: Policy,
        verifier: TokenVerifier | None,
        telemetry: Telemetry,
        *,
        endless: Collection[str] = (),
        observer: ServedObserver | None = None,
    ) -> None:
        self._observer: ServedObserver | None = observer or telemetry.metrics
        self._endless = endless
        self._running = 0
        self._ending = False
        self._streams: set[asyncio.Task[Any]] = set()
        self._policy = policy
        self._verifier = verifier
        self._telemetry = telemetry
        self._captured = telemetry.capture is not None

    def wrap(self, handler: Any, service: str, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        facts = _Facts(service, method, self._policy.get(method))
        if self._captured:
            facts.attributes |= handler_place(behaviour)
        bounded = self._bounded(behaviour, facts, streams=handler.response_streaming)
        return make(bounded, reading(handler.request_deserializer), handler.response_serializer)

    # What is done for each call is written out, not stacked in context managers: each of those costs 2 us, and
    # everything together must cost less than a third of what gRPC itself does.

    def _bounded(self, behaviour: Any, facts: _Facts, *, streams: bool) -> Any:
        endless = facts.method in self._endless

        async def bounded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            began = time.perf_counter()
            code = "CANCELLED"
            traceparent, authorization = _metadata(context)
            self._running += 1
            if endless:
                self._remember(asyncio.current_task())
            try:
                with self._span(facts, traceparent) as span:
                    try:
                        if self._captured:
                            request = _kept(span, request)
                        await self._admit(facts, context, authorization)
                        request = readable(request)
                        response = behaviour(request, context)
                        response = await (self._write(response, context, span) if streams else response)
                    except ShopError as error:
                        self._refused(span, error)
                        raise
                    except Exception as error:
                        raise _internal_error(error, facts) from error
                    if not streams:
                        self._record(span, request, response)
                code = "OK"
                return response
            except ShopError as error:
                code = STATUS_OF[error.kind].name
                await _abort(context, error)
            except asyncio.CancelledError:
                if not (self._ending and streams):
                    raise
                code = "UNAVAILABLE"
                await _abort(context, unavailable(facts.service))
            finally:
                self._ended(facts, code, began)

        return bounded

    async def _write(self, responses: AsyncGenerator[Any, None], context: Any, span: Span) -> None:
        # Written, not yielded on: grpc.aio drops a generator when the client is gone, and what it holds would then be
        # released by another task, in another context.
        async with aclosing(responses):
            kept = rpc.first_kept(rpc.keep_sent, span, responses) if self._captured else responses
            async for response in kept:
                await context.write(response)

    def _record(self, span: Span, request: Any, response: Any) -> None:
        if self._captured:
            rpc.keep_sent(span, response)
        if span.is_recording() and hasattr(request, "ByteSize"):
            span.set_attribute("shop.bytes.received", request.ByteSize())
            span.set_attribute("shop.bytes.sent", response.ByteSize())

    def _refused(self, span: Span, error: ShopError) -> None:
        """Mark a refusal, which is the caller's fault, to set it apart from a failure."""
        if error.kind in _REFUSALS:
            span.set_attribute(NOTE, "refused")
        if self._captured:
            rpc.keep_status_sent(span, status_of(error)[1])

    def end_streams(self) -> None:
        """End endless streams, so that their clients reconnect elsewhere."""
        self._ending = True
        for task in self._streams:
            task.cancel()

    def _remember(self, stream: asyncio.Task[Any] | None) -> None:
        if stream is not None:
            self._streams.add(stream)
            stream.add_done_callback(self._streams.discard)

    def _span(self, facts: _Facts, traceparent: str) -> AbstractContextManager[Span]:
        return self._telemetry.span(
            facts.name, SpanKind.SERVER, protocol="gRPC", parent=traceparent, attributes=facts.attributes
        )

    async def _admit(self, facts: _Facts, context: grpc.aio.ServicerContext[Any, Any], authorization: str) -> None:
        """Let the call in, as its caller and with its deadline: both hold to the end of its task, which is its own."""
        if self._running > _MAX_CALLS:
            raise ShopError("OVERLOADED", "too many calls: try again later", Kind.EXHAUSTED, retry_after=1.0)
        left = context.time_remaining()
        if left is not None and left <= 0:
            raise ShopError("DEADLINE_EXCEEDED", "deadline ended before the call", Kind.TIMEOUT, retry_after=1.0)
        token = bearer(authorization)
        principal = await self._verifier.verify(token) if token and self._verifier is not None else ANONYMOUS
        if facts.rule is None:
            raise ShopError("FORBIDDEN", f"no policy allows {facts.method}", Kind.FORBIDDEN)
        check(facts.rule, principal)
        act_as(principal)
        begin_deadline(left)

    def _ended(self, facts: _Facts, code: str, began: float) -> None:
        self._running -= 1
        if self._observer is not None:
            self._observer.call_served(facts.name, code, time.perf_counter() - began)


def _kept(span: Span, request: Any) -> Any:
    """The request, once it is kept with the span; of a stream the first one. One that cannot be read is not kept."""
    if isinstance(request, AsyncIterator):
        return rpc.first_kept(rpc.keep_received, span, readable(request))
    if not isinstance(request, Unreadable):
        rpc.keep_received(span, request)
    return request


class _Registrar:
    """A stand-in for the server in generated code: registers each method behind the boundary."""

    def __init__(self, server: grpc.aio.Server, boundary: Boundary) -> None:
        self._server = server
        self._boundary = boundary
        # The services' full names.
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, _: object) -> None:
        """Ignore the generic handlers: the same methods are added by name as well, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.names.append(service)
        wrapped = {method: self._boundary.wrap(handler, service, method) for method, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)


class _Facts:
    """The static facts of a method."""

    def __init__(self, service: str, method: str, rule: Rule | None) -> None:
        self.service = service
        self.method = method
        self.rule = rule
        self.name = f"{service}/{method}"
        self.attributes: dict[str, str | int] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def _internal_error(error: Exception, facts: _Facts) -> BaseException:
    """The error of a caller whose call failed unexpectedly: the trace to find in the logs."""
    if isinstance(error, grpc.aio.InternalError):
        # Nothing could be sent: the client has gone, and grpc.aio's own cancellation is on its way.
        return asyncio.CancelledError()
    log.error("gRPC call %s failed unexpectedly", facts.name, exc_info=error)
    return ShopError("INTERNAL", f"internal error; trace {current_trace_id()}", Kind.INTERNAL)


def _metadata(context: grpc.aio.ServicerContext[Any, Any]) -> tuple[str, str]:
    """The call's `traceparent` and `authorization`, each empty when it is not there."""
    traceparent = authorization = ""
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            traceparent = value if isinstance(value, str) else value.decode()
        elif key == "authorization":
            authorization = value if isinstance(value, str) else value.decode()
    return traceparent, authorization


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ShopError) -> None:
    code, details = status_of(error)
    await context.abort(code, error.message, ((STATUS_DETAILS, details),))


@asynccontextmanager
async def serve(
    *registrations: tuple[Callable[[Any, grpc.aio.Server], None], Any],
    policy: Policy,
    verifier: TokenVerifier | None,
    telemetry: Telemetry,
    host: str,
    port: int,
    endless: Collection[str] = (),
    observer: ServedObserver | None = None,
    reflection: bool = True,
    health: health_aio.HealthServicer | None = None,
    tls: Tls | None = None,
) -> AsyncIterator[int]:
    """Serve gRPC until the block ends, and yield the port (a free one for port 0).

    `registrations` pair a generated `add_…_to_server` with its servicer. `health` is the caller's own where
    something beside this process decides whether it can take work; `endless` names streams that end only with their
    clients; `observer` gets each call, instead of the process's own metrics. With `tls`, only callers that show a
    certificate are served. At the end health is NOT_SERVING first, then endless streams get UNAVAILABLE, and other
    calls in flight 5 s to finish.
    """
    boundary = Boundary(policy, verifier, telemetry, endless=endless, observer=observer)
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", 4 << 20),
            # Of one connection, also those whose request has not come, which nothing else counts: each takes 20 KB.
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.keepalive_time_ms", 20_000),
            # The second is what counts, as for clients.
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.ping_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            # Then a client connects anew, once what it has under way is done, and sees copies that were added.
            ("grpc.max_connection_age_ms", 300_000),
        ],
    )
    registrar = _Registrar(server, boundary)
    for register, servicer in registrations:
        register(servicer, cast("grpc.aio.Server", registrar))
    health = health or health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if reflection:
        _reflect(server, registrar.names)
    address = f"{host}:{port}"
    bound = server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls.rpc_server())
    await server.start()
    for name in ("", *registrar.names):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield bound
    finally:
        await health.enter_graceful_shutdown()
        boundary.end_streams()
        await server.stop(_DRAIN_SECONDS)


def _reflect(server: grpc.aio.Server, names: Sequence[str]) -> None:
    from grpc_reflection.v1alpha import reflection

    reflection.enable_server_reflection(
        [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME], server
    )
