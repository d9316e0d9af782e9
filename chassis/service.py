"""Base of every process: telemetry, its database, the broker, its callers' identity, clients and servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chassis.auth.tls import Tls
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY, ProcessSettings

if TYPE_CHECKING:
    import grpc.aio
    from grpc_health.v1.health import aio as health_aio

    from chassis.auth.identity import ServiceToken, TokenVerifier
    from chassis.broker.consumer import Handler
    from chassis.broker.port import Broker
    from chassis.broker.queue_gauges import QueueGauges
    from chassis.clients.gateway import GatewayClient
    from chassis.clients.notifier import Notifier
    from chassis.database.database import Database
    from chassis.grpc.client import Client
    from chassis.grpc.identity_provider import IdentityProvider
    from chassis.grpc.server import Policy

T = TypeVar("T")

# What follows is imported where it is opened: a process does not pay for what it has not (a database costs 20 MB).


class Service:
    """Opens what a process has, by its settings. All of it is closed in reverse order when `service` ends."""

    def __init__(self, name: str, settings: ProcessSettings, telemetry: Telemetry, stack: AsyncExitStack) -> None:
        self.name = name
        self.telemetry = telemetry
        self._settings = settings
        self._stack = stack
        self._identity: IdentityProvider | None = None
        self._token: ServiceToken | None = None
        self._gauges: QueueGauges | None = None

    @cached_property
    def tls(self) -> Tls | None:
        """The process's own certificate and whom it trusts; None when TLS is off. Raises `FileNotFoundError`."""
        return self._settings.tls(self.name)

    async def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Keep a context of the process's own open until the service ends."""
        return await self._stack.enter_async_context(context)

    def on_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` when the service ends."""
        self._stack.push_async_callback(close)

    async def database(self, owner: str, migrations: Path) -> Database:
        """The database of a service, with its schema up to date. Two processes of one service share it."""
        return await self.enter(self._opened(owner, migrations))

    async def migrate(self, owner: str, migrations: Path) -> None:
        """Bring the schema up to date and keep no connection, for a process that opens the database in its own way."""
        async with self._opened(owner, migrations):
            pass

    def _opened(self, owner: str, migrations: Path) -> AbstractAsyncContextManager[Database]:
        from chassis.database.database import database

        settings = self._settings
        create = settings.env == "development"
        metrics = self.telemetry.metrics
        return database(
            settings.database(owner),
            migrations,
            create=create,
            migrate=settings.migrate,
            on_statements=None if metrics is None else metrics.statements_of(owner),
        )

    async def broker(self) -> Broker:
        from chassis.broker import connect
        from chassis.broker.port import Topology

        settings = self._settings
        topology, log_url = Topology.load(TOPOLOGY), settings.event_log_url
        broker = await connect(settings.broker(), topology, log_url=log_url, telemetry=self.telemetry)
        self.on_end(broker.close)
        if self.telemetry.metrics is not None:
            from chassis.broker.queue_gauges import QueueGauges

            self._gauges = QueueGauges(self.telemetry.metrics, broker)
            await self.background(self._gauges.follow())
        return broker

    async def identity(self) -> IdentityProvider:
        """The identity provider, called only when the first token has to be verified or issued."""
        from chassis.grpc.identity_provider import identity_provider

        if self._identity is None:
            address, timeout = self._settings.users_address, self._settings.call_timeout
            opened = identity_provider(address, self.telemetry, tls=self.tls, timeout=timeout)
            self._identity = await self.enter(opened)
        return self._identity

    async def token(self) -> ServiceToken:
        """The source of this process's own tokens, for calls that it makes as itself."""
        if self._token is None:
            self._token = (await self.identity()).service_token(self.name, self._settings.service_secret)
        return self._token

    async def channel(self, address: str, *, idempotent: Sequence[str] = ()) -> grpc.aio.Channel:
        """A channel to an upstream; `idempotent` names what gRPC may retry (see `chassis.grpc.client.connect`)."""
        from chassis.grpc.client import connect

        return await self.enter(connect(address, idempotent=idempotent, tls=self.tls))

    async def client(
        self,
        peer: str,
        address: str,
        stub: Callable[[grpc.aio.Channel], T],
        *,
        idempotent: Sequence[str] = (),
        as_itself: bool = False,
    ) -> tuple[T, Client]:
        """The stub of an upstream and the client that calls it: for our caller, or `as_itself` for this process."""
        from chassis.auth.identity import forward_caller
        from chassis.grpc.client import Client

        token = await self.token() if as_itself else forward_caller
        opened = stub(await self.channel(address, idempotent=idempotent))
        return opened, Client(peer, self.telemetry, token=token, timeout=self._settings.call_timeout)

    async def gateway(self, url: str, *, budget: float) -> GatewayClient:
        """The gateway's client, which shows it this process's own token where there is a secret to get one.

        `budget`: seconds for a call where no deadline is nearer.
        """
        from chassis.clients.gateway import ServiceIdentity, gateway_client

        identity = ServiceIdentity(await self.token())
        if self._settings.service_secret:
            await self.background(identity.keep())
        trust = self._settings.trust()
        return await self.enter(gateway_client(url, self.telemetry, budget=budget, identity=identity, trust=trust))

    async def notifier(self, url: str) -> Notifier:
        """The notifier's client, for subscriptions with the caller's own token."""
        from chassis.clients.notifier import notifier_client

        return await self.enter(notifier_client(url, self.telemetry, trust=self._settings.trust()))

    async def background(self, *work: Coroutine[Any, Any, None]) -> None:
        """Work that runs until the service ends."""
        from chassis.background import background

        await self.enter(background(*work))

    async def consume(self, broker: Broker, queue: str, handler: Handler) -> None:
        """Handle a queue's deliveries until the service ends."""
        from chassis.broker.consumer import consuming

        delays = self._settings.retry_delays
        held = await self.enter(consuming(broker, queue, handler, telemetry=self.telemetry, retry_delays=delays))
        if self._gauges is not None:
            self._gauges.consumes(queue, held)

    async def show_health(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Answer health checks over HTTP, for a process that listens nowhere else."""
        from chassis.http.health import showing_health

        await self.enter(showing_health(self._settings.host, self._settings.health_port, ready))

    async def serve(
        self,
        *registrations: tuple[Callable[[Any, grpc.aio.Server], None], Any],
        policy: Policy,
        port: int,
        verifier: TokenVerifier | None = None,
        endless: Collection[str] = (),
        health: health_aio.HealthServicer | None = None,
    ) -> int:
        """Serve gRPC and return the port (see `chassis.grpc.server.serve`). `verifier`: if not the provider's."""
        from chassis.grpc.server import serve

        return await self.enter(
            serve(
                *registrations,
                policy=policy,
                verifier=verifier or (await self.identity()).verifier,
                telemetry=self.telemetry,
                host=self._settings.host,
                port=port,
                endless=endless,
                reflection=self._settings.env == "development",
                health=health,
                tls=self.tls,
            )
        )

    async def serve_http(
        self,
        app: Any,
        port: int,
        *,
        tls: Tls | None = None,
        max_websocket_message: int = 0,
        singular: Collection[bytes] = (),
    ) -> int:
        """Serve an ASGI application over HTTP and return the port (see `chassis.http.server.serve_http`)."""
        from chassis.http.server import serve_http

        return await self.enter(
            serve_http(
                app,
                host=self._settings.host,
                port=port,
                tls=tls,
                max_websocket_message=max_websocket_message,
                singular=singular,
                telemetry=self.telemetry,
            )
        )


@asynccontextmanager
async def service(
    name: str, settings: ProcessSettings, *, telemetry: Telemetry | None = None, serves_http: bool = False
) -> AsyncIterator[Service]:
    """The process called `name` in traces, tokens and certificates.

    `serves_http`: it shows its metrics, if any, on an HTTP port of its own. `telemetry`: the caller's own.
    """
    async with AsyncExitStack() as stack:
        if telemetry is None:
            telemetry = await stack.enter_async_context(settings.telemetry(name, serves_http=serves_http))
        yield Service(name, settings, telemetry, stack)
