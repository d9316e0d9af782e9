"""One copy of notifier: reads the event log once and hands each event to every client that may see and wants it.

The log is the backplane: every copy reads all of it, so a client may be at any of them, and its positions are the same
at all of them, so a client may come back to any other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chassis.broker.port import Broker, BrokerUnavailable, LogEntry, PositionExpired
from chassis.identity import Principal
from chassis.telemetry import SpanKind, Telemetry
from services.notifier.audience import Audience
from services.notifier.domain import GOING_AWAY, TRY_AGAIN_LATER, UNAUTHENTICATED
from services.notifier.frames import Notice
from services.notifier.history import History
from services.notifier.metrics import Metrics
from services.notifier.ports import Outlet
from services.notifier.session import Session

log = logging.getLogger(__name__)

_PAUSE = 0.5
_SWEEP_SECONDS = 1.0


class Hub:
    def __init__(self, broker: Broker, telemetry: Telemetry, metrics: Metrics, *, send_timeout: float) -> None:
        """`send_timeout`: the seconds after which a client that takes nothing of what waits for it is closed."""
        self._broker = broker
        self._telemetry = telemetry
        self._metrics = metrics
        self._send_timeout = send_timeout
        self._history = History(broker)
        self._following = False
        self._audience = Audience()
        self._sessions: set[Session] = set()

    @property
    def following(self) -> bool:
        """Whether events come in."""
        return self._following

    @contextmanager
    def connected(self, principal: Principal, outlet: Outlet) -> Iterator[Session]:
        """Serve a client while the block runs."""
        session = Session(principal, outlet, self._history, self._audience, self._metrics)
        connections = self._metrics.connections.labels(outlet.encoding.protocol)
        self._sessions.add(session)
        connections.inc()
        try:
            yield session
        finally:
            session.leave()
            self._sessions.remove(session)
            connections.dec()
            if outlet.closing == TRY_AGAIN_LATER:
                self._metrics.drops.labels("too_slow").inc()

    async def follow(self) -> None:
        """Serve what happens, for as long as the process lives."""
        while True:
            try:
                await self._find_out()
                async with self._broker.tail(self._history.position) as entries:
                    self._following = True
                    async for entry in entries:
                        self._serve(entry)
                        # Let the sockets take what was written, whatever the broker has in store.
                        await asyncio.sleep(0)
            except PositionExpired:
                await self._skip()
            except BrokerUnavailable as error:
                log.warning("no events come in", extra={"reason": str(error)})
            finally:
                self._following = False
            await asyncio.sleep(_PAUSE)

    async def sweep(self) -> None:
        """Close clients whose token has expired or who take nothing any more, for as long as the process lives."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.time()
            for session in self._sessions:
                if session.principal.expires_at <= now:
                    session.outlet.close(UNAUTHENTICATED, "TOKEN_EXPIRED")
                elif session.outlet.stalled_for() > self._send_timeout:
                    session.outlet.close(TRY_AGAIN_LATER, "TOO_SLOW")

    def close_all(self) -> None:
        """Begin to close every client; each first gets what has been written to it."""
        for session in self._sessions:
            session.outlet.close(GOING_AWAY, "GOING_AWAY")

    def _serve(self, entry: LogEntry) -> None:
        """Hand an event to its receivers. Never waits: nobody's reading speed is anybody else's business."""
        notice = Notice(entry)
        self._history.append(notice)
        event = entry.event
        audience = list(self._audience.of(event))
        if not audience:
            return
        protocols = {encoding.protocol for encoding, _ in audience}
        # One span per event and copy: one per receiver would cost more than the delivery.
        with self._telemetry.span(
            f"notify {event.type}",
            SpanKind.PRODUCER,
            protocol="WebSocket" if "WebSocket" in protocols else "SSE",
            peer="client",
            parent=event.extensions.get("traceparent"),
        ) as span:
            frame = notice.frame
            deliveries = size = 0
            for encoding, outlets in audience:
                encoded = encoding.encoded(frame)
                written = sum([outlet.write(encoded) for outlet in outlets])
                self._metrics.deliveries.labels(encoding.protocol).inc(written)
                deliveries += written
                size += written * len(encoded)
            span.set_attribute("shop.bytes.sent", size)
            span.set_attribute("shop.deliveries", deliveries)

    async def _find_out(self) -> None:
        """Where the log is when this copy begins; live begins there."""
        if not self._history.known.is_set():
            self._history.begin(await self._broker.last_position())

    async def _skip(self) -> None:
        """Go on with what the log still has: this copy was away for longer than its retention."""
        try:
            self._history.begin(await self._broker.last_position())
        except BrokerUnavailable:
            return
        log.error("events were missed: the log does not reach back to where this copy was")
        for session in self._sessions:
            session.lost_track()
