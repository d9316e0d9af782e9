"""The ERP's WSDL: fetched when it is first needed, kept, and looked at again and again for a change of contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp

from chassis.background import forever
from chassis.errors import Kind, ShopError

if TYPE_CHECKING:
    from services.erp_adapter.envelopes import Envelopes

log = logging.getLogger(__name__)

# Not at once: at that moment every other process of the machine is starting, too.
_FIRST_LOOK = 1.0


class Wsdl:
    """The contract in the WSDL that `fetch` gets, as long as it is the `expected` one (None: any)."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], expected: str | None) -> None:
        self._fetch = fetch
        self._expected = expected
        self._seen = b""
        self._envelopes: Envelopes | None = None
        self._changed: list[str] = []
        self._recheck = asyncio.Event()

    async def envelopes(self) -> Envelopes:
        """Raises ERP_CONTRACT_CHANGED, `ValueError` for a WSDL that cannot be used, and what `fetch` raises."""
        if self._changed:
            self.recheck()  # a contract that was repaired is in use before the next regular look
            raise _contract_changed(self._changed)
        return self._envelopes or await self._look()

    def recheck(self) -> None:
        """Have `watch` look now: an answer was not what it should be, or may be again."""
        self._recheck.set()

    async def watch(self, every: float, on_change: Callable[[bool], Awaitable[None]]) -> None:
        """Read the WSDL every so many seconds; `on_change` gets whether it is the expected one, when that changes."""
        fine = True
        shortest = min(every, _FIRST_LOOK)

        async def look() -> None:
            nonlocal fine
            self._recheck.clear()
            # An ERP that is away, or shows something else for a while, has not changed its contract.
            with suppress(ShopError, ValueError, aiohttp.ClientError, TimeoutError):
                await self._look()
            if fine != (not self._changed):
                await on_change(not self._changed)
                fine = not self._changed
            # One look a second is enough, however doubtful its answers are.
            await asyncio.sleep(shortest)

        await forever(look, name="WSDL watch", every=every, first=shortest, on=self._recheck)

    async def _look(self) -> Envelopes:
        wsdl = await self._fetch()
        if wsdl == self._seen and self._envelopes is not None:
            return self._envelopes
        # In a thread: importing zeep takes 0.3 s, reading the WSDL a tenth of that.
        return await asyncio.to_thread(self._read, wsdl)

    def _read(self, wsdl: bytes) -> Envelopes:
        from services.erp_adapter.contract import differences, digest
        from services.erp_adapter.envelopes import Envelopes

        found = Envelopes(wsdl)
        changed = [] if self._expected is None else differences(self._expected, found.contract)
        if changed:
            if changed != self._changed:
                log.error(
                    "ERP contract has changed (%s, not %s): %s; see services/erp_adapter/contract.py",
                    digest(found.contract),
                    digest(self._expected or ""),
                    ", ".join(changed),
                )
            self._changed, self._envelopes = changed, None
            raise _contract_changed(changed)
        if self._changed:
            log.warning("ERP contract matches the expected one again (%s)", digest(found.contract))
        # Kept from here, so that a caller who runs out of time has still prepared it for the next one.
        self._seen, self._envelopes, self._changed = wsdl, found, []
        return found


def _contract_changed(operations: list[str]) -> ShopError:
    message = "the ERP's contract has changed: " + ", ".join(operations)
    return ShopError("ERP_CONTRACT_CHANGED", message, Kind.UNAVAILABLE, retry_after=30.0)
