"""Commands of a WebSocket client, executed one after the other."""

from __future__ import annotations

import asyncio
import logging

from chassis.auth.identity import acting_as
from chassis.errors import Kind, ShopError
from chassis.observability.tracing import SpanKind, Telemetry
from chassis.resilience.deadlines import deadline_in
from services.notifier import frames
from services.notifier.delivery.session import Session
from services.notifier.metrics import Metrics
from services.notifier.transports.protocol import Chat, Command, Ping, Subscribe, Unsubscribe, parse
from services.notifier.use_cases import Conversations

log = logging.getLogger(__name__)

_COMMAND_SECONDS = 5.0
_MAX_PENDING = 32


class Commands:
    """Carries out a client's frames in their order; only while there are any does that take a task."""

    __slots__ = ("_conversations", "_metrics", "_pending", "_session", "_telemetry", "_worker")

    def __init__(self, session: Session, conversations: Conversations, telemetry: Telemetry, metrics: Metrics) -> None:
        self._session = session
        self._conversations = conversations
        self._telemetry = telemetry
        self._metrics = metrics
        # A list, since an empty deque takes ten times its memory, and most clients send nothing.
        self._pending: list[Command] = []
        self._worker: asyncio.Task[None] | None = None

    def receive(self, text: str) -> None:
        """Parse a frame and carry it out when it is next."""
        if len(self._pending) == _MAX_PENDING:
            self.refuse()
            return
        try:
            self._pending.append(parse(text))
        except ShopError as error:
            self._session.connection.send(frames.error(error))
            return
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    def refuse(self) -> None:
        """Ignore a frame, and send an error for it."""
        self._metrics.drops.labels("rate_limited").inc()
        refusal = ShopError("RATE_LIMITED", "too many frames: send this one again later", Kind.EXHAUSTED)
        self._session.connection.send(frames.error(refusal))

    async def finish(self) -> None:
        """Let what has begun end, such as a text that is being posted; not for long."""
        self._pending.clear()
        worker = self._worker
        if worker is not None:
            try:
                await asyncio.wait({worker}, timeout=_COMMAND_SECONDS)
            finally:
                # Also when the end of the connection cancels this wait: the task would outlive its client.
                worker.cancel()

    async def _work(self) -> None:
        try:
            while self._pending:
                await self._answer(self._pending.pop(0))
        except ConnectionError:
            self._pending.clear()  # the client has gone; it can have replayed what it missed
        finally:
            self._worker = None

    async def _answer(self, command: Command) -> None:
        try:
            await self._carry_out(command)
        except ShopError as error:
            self._session.connection.send(frames.error(error))
        except ConnectionError:
            raise
        except Exception:
            log.exception("notifier command failed unexpectedly")
            self._session.connection.send(frames.error(ShopError("INTERNAL", "internal error", Kind.INTERNAL)))

    async def _carry_out(self, command: Command) -> None:
        match command:
            case Subscribe(topics, after):
                await self._session.subscribe(topics, after)
            case Unsubscribe(topics):
                self._session.unsubscribe(topics)
            case Chat(room, text):
                await self._chat(room, text)
            case Ping():
                self._session.connection.send(frames.pong(self._session.reached()))

    async def _chat(self, room: str, text: str) -> None:
        span = self._telemetry.span(
            "chat",
            SpanKind.SERVER,
            protocol="WebSocket",
            attributes={"shop.bytes.received": len(text.encode())},
        )
        with span, acting_as(self._session.principal), deadline_in(_COMMAND_SECONDS):
            await self._conversations.post(room, text)
        self._session.connection.send(frames.posted(room))
