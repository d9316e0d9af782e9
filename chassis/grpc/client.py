"""gRPC client: deadline, identity, tracing, circuit breaker and error translation around each call."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from chassis.auth.identity import forward_caller
from chassis.auth.tls import Tls
from chassis.errors import ShopError, timed_out, unavailable
from chassis.grpc.errors import error_from, has_details
from chassis.observability.capture import rpc
from chassis.observability.tracing import NOTE, Span, SpanKind, Telemetry, current_traceparent
from chassis.resilience.deadlines import FAIR_CHANCE, CircuitBreaker, time_left

Response = TypeVar("Response")
Stub = TypeVar("Stub")

# An option of every channel: the shop's own services are never behind a proxy that the environment names for the web.
DIRECT: tuple[str, str | int] = ("grpc.enable_http_proxy", 0)
# These mean that the upstream has not answered, as opposed to having refused.
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class CallObserver(Protocol):
    def call_done(self, peer: str, method: str, code: str, seconds: float) -> None:
        """`method` is the whole name, "shop.orders.v1.OrderService/GetOrder"; `code` a gRPC status' name."""

    def watch(self, peer: str, breaker: CircuitBreaker) -> None:
        """Note an upstream, and the breaker towards it."""


class Client:
    """One upstream. Cheaper than client interceptors, which cost a task and 100 us a call.

    Calls take the shorter of `timeout` and what is left of the caller's deadline, and raise `ShopError` with the code
    that the upstream gave, UPSTREAM_UNAVAILABLE, or DEADLINE_EXCEEDED.
    """

    def __init__(
        self,
        peer: str,
        telemetry: Telemetry,
        *,
        token: Callable[[], Awaitable[str]] = forward_caller,
        timeout: float = 2.0,
        breaker: CircuitBreaker | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        """`observer`: called for each call, instead of the process's own metrics."""
        self.peer = peer
        self._telemetry = telemetry
        self._token = token
        self._timeout = timeout
        self._breaker = breaker or CircuitBreaker()
        self._observer: CallObserver | None = observer or telemetry.metrics
        if self._observer is not None:
            self._observer.watch(peer, self._breaker)
        self._captured = telemetry.capture is not None
        self._methods: dict[Any, _Method] = {}

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Any, Response], request: Message, *, timeout: float | None = None
    ) -> Response:
        """Make a unary call."""
        with self._span(method) as span:
            if self._captured:
                rpc.keep_sent(span, request)
            metadata, budget = await self._prepare(timeout, span)
            began = time.perf_counter()
            try:
                response = await method(request, timeout=budget, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise self._translated(error, method, began, budget, span) from error
            self._succeeded(method, began)
            if self._captured:
                rpc.keep_received(span, response)
            if span.is_recording():
                span.set_attribute("shop.bytes.sent", request.ByteSize())
                span.set_attribute("shop.bytes.received", response.ByteSize())  # type: ignore[attr-defined]
            return response

    async def upload(
        self,
        method: grpc.aio.StreamUnaryMultiCallable[Any, Response],
        requests: AsyncIterator[Message],
        *,
        timeout: float,
    ) -> Response:
        """Make a client-streaming call; the requests are pulled as fast as the upstream takes them.

        An error of `requests` cancels the call and is raised here.
        """
        with self._span(method) as span:
            metadata, budget = await self._prepare(timeout, span)
            began = time.perf_counter()
            if self._captured:
                requests = rpc.first_kept(rpc.keep_sent, span, requests)
            call = method(timeout=budget, metadata=metadata)
            try:
                # Not `method(requests)`: what that makes of an error of theirs is a cancellation.
                await _write_all(call, requests)
                response = await call
            except grpc.aio.AioRpcError as error:
                raise self._translated(error, method, began, budget, span) from error
            finally:
                call.cancel()
            self._succeeded(method, began)
            if self._captured:
                rpc.keep_received(span, response)
            return response

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Any, Response], request: Message, *, timeout: float
    ) -> AsyncGenerator[Response, None]:
        """Make a server-streaming call; closing the iterator cancels it."""
        with self._span(method, current=False) as span:
            if self._captured:
                rpc.keep_sent(span, request)
            metadata, budget = await self._prepare(timeout, span)
            began = time.perf_counter()
            call = method(request, timeout=budget, metadata=metadata)
            responses = rpc.first_kept(rpc.keep_received, span, call) if self._captured else call
            try:
                async for response in responses:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise self._translated(error, method, began, budget, span) from error
            finally:
                call.cancel()
            self._succeeded(method, began)

    def _span(self, method: Any, *, current: bool = True) -> AbstractContextManager[Span]:
        known = self._method(method)
        return self._telemetry.span(
            known.name, SpanKind.CLIENT, protocol="gRPC", peer=self.peer, attributes=known.attributes, current=current
        )

    def _method(self, method: Any) -> _Method:
        known = self._methods.get(method)
        if known is None:
            known = self._methods[method] = _Method(method)
        return known

    async def _prepare(self, timeout: float | None, span: Span) -> tuple[grpc.aio.Metadata, float]:
        """The metadata and the seconds for a call; refuses one that has no time or no chance."""
        if not self._breaker.allows_call():
            span.set_attribute(NOTE, "breaker_open")
            raise unavailable(self.peer, retry_after=self._breaker.retry_after())
        token = await self._token()
        left = time_left()
        budget = self._timeout if timeout is None else timeout
        budget = budget if left is None else min(budget, left)
        if budget <= 0:
            raise timed_out(self.peer)
        # gRPC's own type, not a list, which it would look at and copy twice.
        metadata = grpc.aio.Metadata(("traceparent", current_traceparent(span)))
        if token:
            metadata.add("authorization", f"Bearer {token}")
        return metadata, budget

    def _succeeded(self, method: Any, began: float) -> None:
        self._breaker.succeeded()
        if self._observer is not None:
            self._observer.call_done(self.peer, self._method(method).name, "OK", time.perf_counter() - began)

    def _translated(
        self, error: grpc.aio.AioRpcError, method: Any, began: float, budget: float, span: Span
    ) -> ShopError:
        code = error.code()
        if self._captured:
            rpc.keep_status_received(span, error)
        # With details, the answer is the upstream's own: it may lack an upstream of its own, but it is there.
        if code not in _UNANSWERED or has_details(error):
            self._breaker.succeeded()
        elif code is not grpc.StatusCode.DEADLINE_EXCEEDED or budget >= FAIR_CHANCE:
            self._breaker.failed()
        if self._observer is not None:
            self._observer.call_done(self.peer, self._method(method).name, code.name, time.perf_counter() - began)
        return error_from(error, self.peer)


class _Calls:
    def __init__(self, stub: Any, client: Client) -> None:
        self._stub = stub
        self._client = client

    def __getattr__(self, method: str) -> Any:
        made = partial(self._client.call, getattr(self._stub, method))
        setattr(self, method, made)  # the next time, it is found without this
        return made


def calls(stub: Stub, client: Client) -> Stub:
    """A stub whose unary methods are called by a client: `await orders.GetOrder(request)` raises what `call` raises."""
    return cast("Stub", _Calls(stub, client))


class _Method:
    """The static facts of a callable: its name, and the attributes of its span."""

    def __init__(self, method: Any) -> None:
        # The path of a callable is only in a private attribute: "/shop.orders.v1.OrderService/GetOrder".
        path = method._method  # noqa: SLF001
        self.name: str = (path.decode() if isinstance(path, bytes) else path).lstrip("/")
        service, _, name = self.name.partition("/")
        self.attributes: Mapping[str, str] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


async def _write_all(call: grpc.aio.StreamUnaryCall[Any, Any], requests: AsyncIterable[Message]) -> None:
    """Write until the upstream answers, which may be before the last request; awaiting the call returns the answer."""
    await call.wait_for_connection()
    # Not `call.write`: when an answer comes just then, that puts an error of gRPC's own in its place, and a refusal
    # became a failure of ours, one time in twenty.
    write = call._cython_call.send_serialized_message  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        async for request in requests:
            if call.done():
                return
            await write(request.SerializeToString())
        await call.done_writing()
    except grpc.aio.InternalError:
        return


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Seconds of silence after which an upstream that owes an answer is pinged, and seconds that it has to react."""

    silence: float = 20.0
    timeout: float = 5.0


@asynccontextmanager
async def connect(
    address: str, *, idempotent: Sequence[str] = (), tls: Tls | None = None, keepalive: Keepalive = Keepalive()
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to an upstream, opened at the first call and again whenever it breaks.

    `idempotent` names what gRPC itself may retry on UNAVAILABLE: services ("shop.catalog.v1.CatalogService") or
    single methods ("shop.orders.v1.OrderService/GetOrder"). With `tls`, both sides show a certificate. A connection
    over which nothing comes any more counts as broken after `keepalive`.
    """
    options = _channel_options(idempotent, keepalive)
    if tls is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, tls.rpc_client(), options=options)
    try:
        yield channel
    finally:
        await channel.close()


def _channel_options(idempotent: Sequence[str], keepalive: Keepalive) -> list[tuple[str, str | int]]:
    retried = [
        {"service": service, **({"method": method} if method else {})}
        for service, _, method in (name.partition("/") for name in idempotent)
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.5s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": retried, "retryPolicy": policy}] if retried else [],
    }
    return [
        ("grpc.service_config", json.dumps(config)),
        DIRECT,
        # A restarted upstream is found again at once, not after gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # The name misleads: this long may connecting take, handshakes included, before it counts as failed.
        ("grpc.min_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", int(keepalive.silence * 1000)),
        # The second is what counts, else a minute: gRPC never looks at the first (grpc/grpc#39239).
        ("grpc.keepalive_timeout_ms", int(keepalive.timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", int(keepalive.timeout * 1000)),
        ("grpc.use_local_subchannel_pool", 1),
        # Else gRPC widens a stream's window with the connection's bandwidth and buffers megabytes of each stream that
        # is not read, as when a client has stopped reading its download.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 4 << 10),
    ]


__all__ = ["DIRECT", "Client", "Keepalive", "Span", "calls", "connect"]
