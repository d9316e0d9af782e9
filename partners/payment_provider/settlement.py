"""The provider's own work, beside the requests: collecting due payments, sending webhooks. State is in the ledger."""

from __future__ import annotations

import asyncio
from functools import partial

from chassis import wall_clock
from chassis.background import Backoff, forever
from partners.payment_provider.domain import collected
from partners.payment_provider.ledger import Ledger, PendingEvent
from partners.payment_provider.webhook_sender import MAX_DELAY, WebhookSender, delay_after

_BATCH_SIZE = 16
# Poll interval where nothing is known to become due, in seconds.
_POLL_SECONDS = 60.0


class Settlement:
    def __init__(self, ledger: Ledger, sender: WebhookSender, *, delay: float) -> None:
        """`delay`: the seconds after which a payment is collected."""
        self._ledger = ledger
        self._delay = delay
        self._sender = sender
        self._news = asyncio.Event()
        self._sending: set[str] = set()
        self._backoff = Backoff("payment webhooks")

    def wake(self) -> None:
        """Look again now: there may be something to do earlier than expected."""
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled. What a former process left undone is due and done first."""
        async with asyncio.TaskGroup() as tasks:
            await forever(partial(self._work, tasks), name="payment collection", every=_POLL_SECONDS, on=self._news)

    async def _work(self, tasks: asyncio.TaskGroup) -> float:
        """Do what is due; the seconds until something else is, unless there is news before."""
        self._news.clear()
        # Before the look: should the clock be set back during it, this only makes the wait shorter.
        now = wall_clock.seconds()
        room = _BATCH_SIZE - len(self._sending)
        due = await self._ledger.due(
            collected, room, besides=set(self._sending), collected_within=self._delay, sent_within=MAX_DELAY
        )
        for event in due.events:
            self._sending.add(event.id)
            tasks.create_task(self._send(event))
        # Without room, the end of a webhook under way is the next thing to wait for.
        moments = (due.next_collection, due.next_attempt if len(self._sending) < _BATCH_SIZE else None)
        waits = [max(0.0, moment - now) for moment in moments if moment is not None]
        # Never for long: set forward during the look, the clock would make the wait longer.
        return min([*waits, _POLL_SECONDS])

    async def _send(self, event: PendingEvent) -> None:
        try:
            if await self._sender.send(event):
                await self._ledger.delivered(event.id)
            else:
                await self._ledger.postpone(event.id, delay_after(event.attempts))
            self._backoff.worked()
        except Exception as error:  # noqa: BLE001 - it stays undelivered, and is found again
            await asyncio.sleep(self._backoff.failed(error))
        finally:
            self._sending.discard(event.id)
            self.wake()
