"""One copy of notifier: reads the event log once and hands each event to every authorized, subscribed client.

The log is the backplane: every copy reads all of it, so a client may be at any of them, and its positions are the same
at all of them, so a client may come back to any other.
"""

from __future__ import annotations

import asyncio
import logging

from chassis.auth.identity import Principal
from chassis.background import forever, wait
from chassis.broker.event_log import EventLog, LogEntry, LogReader, Position, PositionExpired
from chassis.broker.port import BrokerUnavailable
from chassis.errors import Kind, ShopError
from chassis.observability.tracing import Telemetry
from services.notifier.delivery.replay import Replay
from services.notifier.delivery.session import Session
from services.notifier.delivery.subscription_index import SubscriptionIndex
from services.notifier.delivery.write_batch import WriteBatch
from services.notifier.domain import GOING_AWAY, TRY_AGAIN_LATER, UNAUTHENTICATED
from services.notifier.frames import Notice
from services.notifier.metrics import Metrics
from services.notifier.ports import ClientConnection

log = logging.getLogger(__name__)

_PAUSE = 0.5
_SWEEP_SECONDS = 1.0
# Events that are served before everything else gets a turn, also where none of them has a receiver.
_BATCH_SIZE = 64
# How long a client that comes before the log is read waits for it; less than clients wait for an answer.
_START_TIMEOUT = 4.0


class Hub:
    def __init__(self, event_log: EventLog, telemetry: Telemetry, metrics: Metrics, *, send_timeout: float) -> None:
        """`send_timeout`: the seconds after which a client that takes nothing of what waits for it is closed."""
        self._event_log = event_log
        self._metrics = metrics
        self._send_timeout = send_timeout
        self._replay = Replay(event_log)
        self._entries: LogReader | None = None
        self._reason = "it has not been reached yet"
        self._batch = WriteBatch(telemetry, metrics)
        self._subscriptions = SubscriptionIndex(before_change=self._batch.deliver)
        self._sessions: set[Session] = set()

    @property
    def trouble(self) -> str:
        """The reason why no events arrive; empty while they do."""
        reason = self._reason if self._entries is None else self._entries.trouble
        return reason and f"the event log cannot be read: {reason}"

    async def position(self) -> Position:
        """The position up to which the log has been served; waits while a copy that has just started finds it out.

        A client that is answered afterwards misses nothing that happens from then on. Raises NOT_READY.
        """
        if not await wait(self._replay.known, _START_TIMEOUT):
            message = "this copy has not begun to read the event log; try again later"
            raise ShopError("NOT_READY", message, Kind.UNAVAILABLE, retry_after=1.0)
        return self._replay.position

    def connected(self, principal: Principal, connection: ClientConnection) -> Connected:
        """Serve a client while the block runs; `position` is known."""
        return Connected(self, Session(principal, connection, self._replay, self._subscriptions, self._metrics))

    def connect(self, session: Session) -> None:
        self._sessions.add(session)
        self._metrics.connections.labels(session.connection.protocol).inc()

    def disconnect(self, session: Session) -> None:
        session.leave()
        self._sessions.remove(session)
        self._metrics.connections.labels(session.connection.protocol).dec()
        if session.connection.closing == TRY_AGAIN_LATER:
            self._metrics.drops.labels("too_slow").inc()

    async def follow(self) -> None:
        """Serve what happens, for as long as the process lives."""
        await forever(self._follow, name="event feed", every=_PAUSE)

    async def _follow(self) -> None:
        try:
            if not self._replay.known.is_set():
                # Live delivery starts at the log's position when this copy starts.
                self._replay.begin(await self._event_log.last_position())
            async with self._event_log.tail(self._replay.position) as entries:
                self._entries = entries
                served = 0
                async for entry in entries:
                    if served == _BATCH_SIZE or not self._batch.has_room(len(entry.event.data)):
                        self._batch.deliver()
                        # Let the sockets take what was written, whatever the broker has in store.
                        await asyncio.sleep(0)
                        served = 0
                    self._serve(entry)
                    served += 1
        except PositionExpired as error:
            self._stopped(error)
            await self._skip()
        except BrokerUnavailable as error:
            self._stopped(error)
            raise
        finally:
            self._entries = None

    async def sweep(self) -> None:
        """Close clients whose token has expired or that take nothing any more, for as long as the process lives."""
        await forever(self._sweep, name="client sweep", every=_SWEEP_SECONDS, first=_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        for session in self._sessions:
            if session.has_expired:
                session.connection.close(UNAUTHENTICATED, "TOKEN_EXPIRED")
            elif session.connection.stalled_for() > self._send_timeout:
                session.connection.close(TRY_AGAIN_LATER, "TOO_SLOW")

    def close_all(self) -> None:
        """Begin to close every client; each first gets what has been written to it."""
        self._batch.deliver()
        for session in self._sessions:
            session.connection.close(GOING_AWAY, "GOING_AWAY")

    def _serve(self, entry: LogEntry) -> None:
        """Have an event go to its receivers, who are those that there are now."""
        notice = Notice(entry)
        if self._replay.append(notice) and (groups := [*self._subscriptions.of(entry.event)]):
            self._batch.add(notice, groups)

    def _stopped(self, error: Exception) -> None:
        self._batch.deliver()
        self._entries = None
        self._reason = str(error)

    async def _skip(self) -> None:
        """Go on at the end of the log, which no longer holds the events after this copy's position."""
        try:
            self._replay.begin(await self._event_log.last_position())
        except BrokerUnavailable:
            return
        log.error("notifier missed events: resync sent to all clients", extra={"reason": self._reason})
        for session in self._sessions:
            session.restart_from_log()


class Connected:
    """A client that is served while the block runs; a generator would take 300 bytes more for as long as it stays."""

    __slots__ = ("_hub", "_session")

    def __init__(self, hub: Hub, session: Session) -> None:
        self._hub = hub
        self._session = session

    def __enter__(self) -> Session:
        self._hub.connect(self._session)
        return self._session

    def __exit__(self, *_: object) -> None:
        self._hub.disconnect(self._session)
