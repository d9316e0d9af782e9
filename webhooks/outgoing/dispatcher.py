"""Sends what is due. All its state is rows: whoever dies in between has lost nothing, and sends under the same id."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime

from chassis.database import DATABASE_ERRORS, Database
from webhooks.outgoing.domain import Delivery, Endpoint, Persistence, after_attempt
from webhooks.outgoing.ports import DeliveryStore, Sender

log = logging.getLogger(__name__)

# Requests under way to one endpoint, and endpoints that are being served at a time.
_AT_ONCE = 4
_MOST_LANES = 200
_LOOK_SECONDS = 1.0
_BACKOFF_SECONDS = 1.0
_JITTER = 0.1


class Dispatcher:
    """A lane for each endpoint for which something is due: a slow endpoint holds up its own lane and no other."""

    def __init__(self, store: DeliveryStore, sender: Sender, database: Database, persistence: Persistence) -> None:
        self._store = store
        self._sender = sender
        self._database = database
        self._persistence = persistence
        self._news = asyncio.Event()
        self._lanes: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Something may be due earlier than it was thought."""
        self._news.set()

    async def run(self) -> None:
        """Dispatch as long as the process lives; one process at a time, or an event would be sent by each of them."""
        while True:
            try:
                async with self._database.exclusively("dispatch") as alone:
                    if alone:
                        await self._dispatch()
            except DATABASE_ERRORS as error:
                log.warning("deliveries have to wait", extra={"reason": str(error)})
            await asyncio.sleep(_BACKOFF_SECONDS)

    async def _dispatch(self) -> None:
        try:
            while True:
                self._news.clear()
                for endpoint_id in await self._store.endpoints_due(datetime.now(UTC)):
                    if endpoint_id not in self._lanes and len(self._lanes) < _MOST_LANES:
                        self._open_lane(endpoint_id)
                await self._rest()
        finally:
            lanes = list(self._lanes.values())
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    def _open_lane(self, endpoint_id: str) -> None:
        task = asyncio.create_task(self._serve(endpoint_id), name=f"deliver to {endpoint_id}")
        self._lanes[endpoint_id] = task

        def ended(lane: asyncio.Task[None]) -> None:
            del self._lanes[endpoint_id]
            if not lane.cancelled() and (error := lane.exception()) is not None:
                # What it was about is due still, and is found at the next look.
                log.error("%s ended: %s", lane.get_name(), error, exc_info=error)
            else:
                self.wake()  # something may have come due since its last look

        task.add_done_callback(ended)

    async def _serve(self, endpoint_id: str) -> None:
        """Send what is due for an endpoint until nothing is."""
        while True:
            endpoint, deliveries = await self._store.due(endpoint_id, datetime.now(UTC), _AT_ONCE)
            if endpoint is None or not deliveries:
                return
            await asyncio.gather(*(self._attempt(endpoint, delivery) for delivery in deliveries))

    async def _attempt(self, endpoint: Endpoint, delivery: Delivery) -> None:
        attempt = await self._sender.send(endpoint, delivery)
        stretch = random.uniform(1, 1 + _JITTER)  # noqa: S311 - nothing to guess here
        endpoint, delivery = after_attempt(endpoint, delivery, attempt, self._persistence, stretch=stretch)
        await self._store.record(endpoint, delivery, attempt)

    async def _rest(self) -> None:
        """Sleep until the next delivery is due, or until there is news; never long, for the sake of other processes."""
        due = await self._store.next_due(datetime.now(UTC))
        wait = _LOOK_SECONDS
        if due is not None:
            wait = min(wait, max(0.02, (due - datetime.now(UTC)).total_seconds()))
        if self._lanes:
            wait = max(wait, 0.1)  # most likely a busy lane's; its end is news
        try:
            # Not `wait_for`: Python 3.11's drops a cancellation that comes together with the event.
            async with asyncio.timeout(wait):
                await self._news.wait()
        except TimeoutError:
            return
