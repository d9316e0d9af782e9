"""One client: its subscriptions, and its delivery of missed notices before live ones.

Both come from the same log, so they are joined by position: a client that catches up reads the log on, at its own
speed, until it is where this copy is, and from then on it is live.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from chassis import wall_clock
from chassis.auth.identity import Principal
from chassis.broker.event_log import Position, PositionExpired
from services.notifier import frames
from services.notifier.delivery.replay import Replay
from services.notifier.delivery.subscription_index import SubscriptionIndex, Topics
from services.notifier.domain import UNKNOWN_POSITION, channel_of, check_total, may_see, wanted
from services.notifier.frames import Notice
from services.notifier.metrics import Metrics
from services.notifier.ports import ClientConnection

# Copies of notifier are a moment apart; a position that does not come in this time was never given out.
_BEHIND_SECONDS = 2.0


class Session:
    __slots__ = ("_ends_at", "_joined", "_metrics", "_replay", "_subscriptions", "_topics", "connection", "principal")

    def __init__(
        self,
        principal: Principal,
        connection: ClientConnection,
        replay: Replay,
        subscriptions: SubscriptionIndex,
        metrics: Metrics,
    ) -> None:
        self.principal = principal
        self.connection = connection
        # By the clock that is never set back: the token is then refused everywhere else, too.
        self._ends_at = time.monotonic() + principal.expires_at - wall_clock.seconds()
        self._replay = replay
        self._subscriptions = subscriptions
        self._metrics = metrics
        # Topic -> the position after which it counts.
        self._topics: dict[str, Position] = {}
        # The topics that come live; none while the client catches up.
        self._joined: Topics = ()

    @property
    def has_expired(self) -> bool:
        """Whether the client's token is no longer valid."""
        return self.principal.expires_at <= wall_clock.seconds() or self._ends_at <= time.monotonic()

    def reached(self) -> Position | None:
        """The position up to which the client was sent everything that concerns it; None while it is not live."""
        if not self._joined:
            return None
        self._subscriptions.deliver()
        return self._replay.position

    def restart_from_log(self) -> None:
        """Resume where the log is now: it does not hold the events after this position, or began anew."""
        self._topics = dict.fromkeys(self._topics, self._replay.position)
        if self._topics:
            self._resync()
            self.connection.send(frames.subscribed(tuple(self._topics), self._replay.position))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.leave()
        for topic in topics:
            self._topics.pop(topic, None)
        self._join()
        self.connection.send(frames.unsubscribed(topics))

    async def subscribe(self, topics: Sequence[str], after: Position | None) -> None:
        """Serve these topics too: from now on, or everything after a position and then live. One call at a time.

        A position that the log cannot continue from is answered with resync. Raises INVALID_TOPIC, with nothing
        changed, and `ConnectionError` when the client goes away meanwhile.
        """
        check_total([*self._topics, *topics])
        self.leave()
        if after is None:
            self._add(topics, self._replay.position)
        else:
            await self._catch_up(topics, after)
        self._join()

    def leave(self) -> None:
        """Get nothing live any more."""
        if self._joined:
            self._subscriptions.leave(channel_of(self.principal), self._joined, self.connection)
            self._joined = ()

    def _join(self) -> None:
        if self._topics:
            # Sorted, so that clients with the same topics in another order are in one group.
            self._joined = tuple(sorted(self._topics))
            self._subscriptions.join(channel_of(self.principal), self._joined, self.connection)

    def _add(self, topics: Sequence[str], since: Position) -> None:
        earlier = {topic: since.intersection(self._topics.get(topic, since)) for topic in topics}
        self._topics = self._topics | earlier
        self.connection.send(frames.subscribed(topics, since))

    async def _catch_up(self, topics: Sequence[str], after: Position) -> None:
        before, since = self._topics, self._replay.position
        try:
            await self._wait_for(after)
            # What was live until now for other topics goes on from where that was.
            cursor = after.intersection(since) if before else after
            missed, reached = await self._replay.read(cursor)
        except PositionExpired:
            self._resync()
            after = cursor = reached = self._replay.position
            missed = []
        self._add(topics, after)
        while True:
            cursor = self._push_missed(missed, cursor, reached, before, since)
            if cursor.includes(self._replay.position):
                return  # and be live: nothing can have happened since the last look
            missed = []  # so that a slow client holds no more than what waits for it
            await self.connection.ready()
            try:
                missed, reached = await self._replay.read(cursor)
            except PositionExpired:
                self._resync()
                reached = self._replay.position

    def _push_missed(
        self,
        missed: Sequence[Notice],
        cursor: Position,
        reached: Position,
        before: Mapping[str, Position],
        since: Position,
    ) -> Position:
        """Write what the client has subscribed to, until the client is behind; returns how far that was."""
        written = 0
        for notice in missed:
            if self.connection.behind:
                reached = cursor
                break
            frame, cursor = notice.frame_for(cursor)
            entry = (notice.event.type, notice.partition, notice.offset)
            # What was live for another topic has been sent already.
            sent = since.has(notice.partition, notice.offset) and wanted(before, *entry)
            if not sent and wanted(self._topics, *entry) and may_see(self.principal, notice.event):
                written += self.connection.send(frame)
        self._metrics.deliveries.labels(self.connection.protocol).inc(written)
        if missed and not written and self.connection.protocol == "SSE":
            # As long as nothing concerns it, its client has no other sign.
            self.connection.send(frames.heartbeat(reached))
        return reached

    async def _wait_for(self, position: Position) -> None:
        """Wait until this copy has reached a position. Raises `PositionExpired` when it never does."""
        if position == UNKNOWN_POSITION:
            raise PositionExpired("the position is not one of this log")
        try:
            async with asyncio.timeout(_BEHIND_SECONDS):
                while not self._replay.position.includes(position):  # noqa: ASYNC110 - rare, and a signal would cost every event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise PositionExpired(f"the log has not reached position {position}") from None

    def _resync(self) -> None:
        self._metrics.drops.labels("resync").inc()
        self.connection.send(frames.RESYNC)
