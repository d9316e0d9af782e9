"""Sends due deliveries. All state is in rows: a dispatcher that restarts sends again under the same id."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from chassis import background, wall_clock
from chassis.background import Backoff, forever
from chassis.database.database import Database
from webhooks.outgoing.domain import Delivery, Endpoint, RetryPolicy, after_attempt
from webhooks.outgoing.ports import DeliveryStore, Sender

log = logging.getLogger(__name__)

# Requests under way to one endpoint, and endpoints that are being served at a time.
_MAX_CONCURRENT = 4
_MAX_LANES = 200
_POLL_SECONDS = 1.0
_TRY_SECONDS = 1.0
_MAX_PAUSE = 30.0
_JITTER = 0.1
# Seconds between checks for deliveries postponed by a clock that was set back.
_CLOCK_SECONDS = 10.0


class Dispatcher:
    """A lane for each endpoint for which something is due: a slow endpoint holds up its own lane and no other.

    Where more endpoints have something due than there are lanes, they take turns.
    """

    def __init__(self, store: DeliveryStore, sender: Sender, database: Database, policy: RetryPolicy) -> None:
        self._store = store
        self._sender = sender
        self._database = database
        self._policy = policy
        self._news = asyncio.Event()
        self._clock_check_at = float("-inf")
        self._lanes: dict[str, asyncio.Task[None]] = {}
        # Endpoint -> its last turn, or the last one before it came, for those that have something due.
        self._turns: dict[str, int] = {}
        self._last_turn = 0
        # Of all lanes together: they record in one database.
        self._recording = Backoff("webhook deliveries", max_pause=_MAX_PAUSE)

    def wake(self) -> None:
        """Wake the dispatcher: a delivery may be due earlier than planned."""
        self._news.set()

    async def run(self) -> None:
        """Dispatch as long as the process lives; one process at a time, or an event would be sent by each of them."""
        dispatching = partial(self._database.if_alone, "dispatch", self._dispatch)
        await forever(dispatching, name="webhook dispatcher", every=_TRY_SECONDS)

    async def _dispatch(self) -> None:
        try:
            while True:
                self._news.clear()
                await self._check_clock()
                self._open_lanes(await self._store.endpoints_due(wall_clock.now()))
                await self._rest()
        finally:
            lanes = list(self._lanes.values())
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _check_clock(self) -> None:
        """After the clock was set back, shorten each wait to its own delay."""
        now = asyncio.get_running_loop().time()
        if now < self._clock_check_at:
            return
        waits = [timedelta(0), *(timedelta(seconds=delay * (1 + _JITTER)) for delay in self._policy.delays)]
        max_pause = timedelta(seconds=self._policy.max_pause)
        await self._store.shorten_waits(wall_clock.now(), waits, max_pause)
        self._clock_check_at = now + _CLOCK_SECONDS

    def _open_lanes(self, due: Sequence[str]) -> None:
        """Serve as many endpoints as there are lanes: those first whose last turn was the longest ago."""
        known = {*due, *self._lanes}
        # A new endpoint queues behind the waiting ones.
        self._turns = {endpoint_id: self._turns.get(endpoint_id, self._last_turn) for endpoint_id in known}
        waiting = [endpoint_id for endpoint_id in due if endpoint_id not in self._lanes]
        waiting.sort(key=lambda endpoint_id: self._turns[endpoint_id])
        for endpoint_id in waiting[: _MAX_LANES - len(self._lanes)]:
            self._open_lane(endpoint_id)

    def _open_lane(self, endpoint_id: str) -> None:
        self._last_turn += 1
        self._turns[endpoint_id] = self._last_turn
        task = asyncio.create_task(self._serve(endpoint_id), name=f"deliver to {endpoint_id}")
        self._lanes[endpoint_id] = task

        def ended(lane: asyncio.Task[None]) -> None:
            del self._lanes[endpoint_id]
            if not lane.cancelled():
                self.wake()  # something may have come due since its last look

        task.add_done_callback(ended)

    async def _serve(self, endpoint_id: str) -> None:
        """Send what is due for an endpoint until nothing is, or others may wait for a lane; pause after a failure."""
        try:
            while True:
                endpoint, deliveries = await self._store.due(endpoint_id, wall_clock.now(), _MAX_CONCURRENT)
                if endpoint is None or not deliveries:
                    return
                under_way = (self._attempt(endpoint, delivery) for delivery in deliveries)
                # All of them end before anything is sent again, also when one could not be recorded.
                for ended in await asyncio.gather(*under_way, return_exceptions=True):
                    if ended is not None:
                        raise ended
                self._recording.worked()
                if len(self._lanes) >= _MAX_LANES:
                    return
        except Exception as error:  # noqa: BLE001 - what it was about is due still, and is found at the next look
            # The lane stays taken meanwhile: what cannot be recorded must not be sent over and over.
            await asyncio.sleep(self._recording.failed(error))

    async def _attempt(self, endpoint: Endpoint, delivery: Delivery) -> None:
        attempt = await self._sender.send(endpoint, delivery)
        stretch = random.uniform(1, 1 + _JITTER)  # noqa: S311  # nosec B311 # nothing to guess here
        decide = partial(after_attempt, policy=self._policy, stretch=stretch)
        await self._store.record(delivery, attempt, decide)

    async def _rest(self) -> None:
        """Sleep until the next delivery is due, or until there is news; never long, for the sake of other processes."""
        due = await self._store.next_due(wall_clock.now())
        wait = _POLL_SECONDS
        if due is not None:
            wait = min(wait, max(0.02, (due - wall_clock.now()).total_seconds()))
        if self._lanes:
            wait = max(wait, 0.1)  # most likely a busy lane's; its end is news
        await background.wait(self._news, wait)
